//! Checks every answer of the health endpoints, byte for byte.

use super::*;

#[tokio::test]
async fn bodies_match_upstream() {
    let good = || collapsed(None);
    let bad = || collapsed(Some("kms-provider-0: plugin is away"));
    let table = [
        ("healthz", good(), "/healthz", OK, "ok"),
        ("livez", good(), "/livez", OK, "ok"),
        ("readyz", good(), "/readyz", OK, "ok"),
        (
            "verbose healthz",
            good(),
            "/healthz?verbose",
            OK,
            "[+]ping ok\n[+]kms-providers ok\nhealthz check passed\n",
        ),
        ("verbose livez", good(), "/livez?verbose", OK, "[+]ping ok\nlivez check passed\n"),
        (
            "verbose readyz",
            good(),
            "/readyz?verbose",
            OK,
            "[+]ping ok\n[+]kms-providers ok\nreadyz check passed\n",
        ),
        (
            "verbose with a value",
            good(),
            "/healthz?verbose=false",
            OK,
            "[+]ping ok\n[+]kms-providers ok\nhealthz check passed\n",
        ),
        (
            "v1 and v2",
            separate(None, None),
            "/healthz?verbose",
            OK,
            "[+]ping ok\n[+]kms-provider-0 ok\n[+]kms-provider-1 ok\nhealthz check passed\n",
        ),
        (
            "no KMS, no reload",
            Fake::default(),
            "/readyz?verbose",
            OK,
            "[+]ping ok\nreadyz check passed\n",
        ),
        (
            "exclude",
            good(),
            "/healthz?verbose&exclude=kms-providers",
            OK,
            "[+]ping ok\n[+]kms-providers excluded: ok\nhealthz check passed\n",
        ),
        ("exclude, not verbose", good(), "/healthz?exclude=kms-providers", OK, "ok"),
        (
            "exclude ping",
            good(),
            "/healthz?verbose&exclude=ping",
            OK,
            "[+]ping excluded: ok\n[+]kms-providers ok\nhealthz check passed\n",
        ),
        (
            "exclude all",
            good(),
            "/readyz?exclude=ping&verbose&exclude=kms-providers",
            OK,
            "[+]ping excluded: ok\n[+]kms-providers excluded: ok\nreadyz check passed\n",
        ),
        (
            "exclude one of two",
            separate(None, None),
            "/healthz?verbose&exclude=kms-provider-1",
            OK,
            "[+]ping ok\n[+]kms-provider-0 ok\n[+]kms-provider-1 excluded: ok\nhealthz check passed\n",
        ),
        (
            "exclude unknown",
            good(),
            "/healthz?verbose&exclude=kms-provider-1",
            OK,
            "[+]ping ok\n[+]kms-providers ok\nwarn: some health checks cannot be excluded: no matches for \"kms-provider-1\"\nhealthz check passed\n",
        ),
        ("exclude unknown, not verbose", good(), "/healthz?exclude=kms-provider-1", OK, "ok"),
        (
            "several unknown: sorted, once",
            good(),
            "/healthz?verbose&exclude=b&exclude=a&exclude=b&exclude=",
            OK,
            "[+]ping ok\n[+]kms-providers ok\nwarn: some health checks cannot be excluded: no matches for \"\",\"a\",\"b\"\nhealthz check passed\n",
        ),
        (
            "known and unknown",
            good(),
            "/healthz?verbose&exclude=x%22&exclude=kms-providers",
            OK,
            "[+]ping ok\n[+]kms-providers excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\\\"\"\nhealthz check passed\n",
        ),
        (
            "livez has no KMS check to exclude",
            good(),
            "/livez?verbose&exclude=kms-providers",
            OK,
            "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"kms-providers\"\nlivez check passed\n",
        ),
        (
            "failure is always listed",
            bad(),
            "/healthz",
            FAILED,
            "[+]ping ok\n[-]kms-providers failed: reason withheld\nhealthz check failed\n",
        ),
        (
            "failure, readyz, verbose",
            bad(),
            "/readyz?verbose",
            FAILED,
            "[+]ping ok\n[-]kms-providers failed: reason withheld\nreadyz check failed\n",
        ),
        ("failure does not reach livez", bad(), "/livez", OK, "ok"),
        ("failure excluded", bad(), "/healthz?exclude=kms-providers", OK, "ok"),
        (
            "failure and unknown",
            bad(),
            "/healthz?exclude=x",
            FAILED,
            "[+]ping ok\n[-]kms-providers failed: reason withheld\nwarn: some health checks cannot be excluded: no matches for \"x\"\nhealthz check failed\n",
        ),
        (
            "one failing does not hide the next",
            separate(Some("x"), None),
            "/healthz",
            FAILED,
            "[+]ping ok\n[-]kms-provider-0 failed: reason withheld\n[+]kms-provider-1 ok\nhealthz check failed\n",
        ),
        (
            "both fail",
            separate(Some("x"), Some("y")),
            "/healthz",
            FAILED,
            "[+]ping ok\n[-]kms-provider-0 failed: reason withheld\n[-]kms-provider-1 failed: reason withheld\nhealthz check failed\n",
        ),
        (
            "failing one excluded",
            separate(Some("x"), None),
            "/healthz?exclude=kms-provider-0",
            OK,
            "ok",
        ),
    ];
    for (desc, fake, target, status, expected) in table {
        let (found, headers, body) = send(app(&fake), "GET", target).await;
        assert_eq!((found, body.as_str()), (status, expected), "{desc}");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8", "{desc}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{desc}");
    }
}

#[tokio::test]
async fn single_checks_match_upstream() {
    let good = || collapsed(None);
    let bad = || collapsed(Some("kms-provider-0: plugin is away"));
    let away = "internal server error: kms-provider-0: plugin is away\n";
    let missing = "404 page not found\n";
    let table = [
        ("ping, healthz", good(), "/healthz/ping", OK, "ok"),
        ("ping, livez", good(), "/livez/ping", OK, "ok"),
        ("ping, readyz", good(), "/readyz/ping", OK, "ok"),
        ("collapsed", good(), "/healthz/kms-providers", OK, "ok"),
        ("collapsed, readyz", good(), "/readyz/kms-providers", OK, "ok"),
        (
            "no verbose here",
            good(),
            "/healthz/kms-providers?verbose&exclude=kms-providers",
            OK,
            "ok",
        ),
        ("escaped path", good(), "/healthz/kms%2dproviders", OK, "ok"),
        ("collapsed fails", bad(), "/healthz/kms-providers", FAILED, away),
        ("collapsed fails, readyz", bad(), "/readyz/kms-providers", FAILED, away),
        ("ping beside a failure", bad(), "/healthz/ping", OK, "ok"),
        (
            "second of two",
            separate(None, Some("x")),
            "/healthz/kms-provider-1",
            FAILED,
            "internal server error: x\n",
        ),
        ("first of two", separate(None, Some("x")), "/healthz/kms-provider-0", OK, "ok"),
        ("livez has no KMS check", good(), "/livez/kms-providers", 404, missing),
        ("not installed when collapsed", good(), "/healthz/kms-provider-0", 404, missing),
        ("trailing slash", good(), "/healthz/", 404, missing),
        ("deeper", good(), "/healthz/ping/x", 404, missing),
        ("longer name", good(), "/healthzz", 404, missing),
        ("root", good(), "/", 404, missing),
        ("double slash", good(), "//healthz", 404, missing),
        ("bad escape", good(), "/healthz%zz", 404, missing),
    ];
    for (desc, fake, target, status, expected) in table {
        let (found, headers, body) = send(app(&fake), "GET", target).await;
        assert_eq!((found, body.as_str()), (status, expected), "{desc}");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8", "{desc}");
        let nosniff = headers.get("x-content-type-options").is_some();
        assert_eq!(nosniff, status != OK, "{desc}: only http.Error sets it");
    }
}

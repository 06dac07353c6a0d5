use super::*;

const MS: Duration = Duration::from_millis(1);

fn family(name: &str, kind: MetricKind, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    MetricFamily {
        name: name.to_owned(),
        help: "Help, with a \\ and a\nnewline.".to_owned(),
        kind,
        samples: vec![Sample {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            value,
        }],
    }
}

fn busy() -> Metrics {
    let metrics = Metrics::new("server-1");
    metrics.observe_kms("my-kms", "/v2.KeyManagementService/Encrypt", 0, MS);
    metrics.observe_kms("my-kms", "/v2.KeyManagementService/Status", 4, MS);
    metrics.observe_transformations(TransformationType::ToStorage, "k8s:enc:kms:v2:my-kms:", MS, 1);
    metrics.http_request("/v1/to-storage", 200);
    metrics.trap();
    metrics.restart();
    metrics.config_loaded("sha256:aa");
    metrics.reload_succeeded("sha256:bb", 1_700_000_000.25);
    metrics.reload_failed(1_700_000_001.0);
    metrics
}

/// Parses the text format. Checks that every sample belongs to the `# TYPE` line above it and that no family occurs twice. Returns the names and
/// types of the families.
fn check(text: &str) -> Vec<(String, String)> {
    let mut families: Vec<(String, String)> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').expect("help text").0;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert_eq!(name, help, "HELP stands above TYPE");
            assert!(families.iter().all(|(seen, _)| seen != name), "{name} comes twice");
            families.push((name.to_owned(), kind.to_owned()));
        } else {
            let (name, kind) = families.last().expect("a sample below its TYPE");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let sample = series.split('{').next().expect("a name");
            let expected: &[&str] = match kind.as_str() {
                "histogram" => &["_sum", "_count", "_bucket"],
                "counter" | "gauge" => &[""],
                other => panic!("{name} has type {other}"),
            };
            let suffix = sample.strip_prefix(name.as_str());
            assert!(suffix.is_some_and(|s| expected.contains(&s)), "{sample} below {name}");
            assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
    families
}

#[test]
fn names_and_types_match_upstream() {
    let engine = [family(
        "apiserver_envelope_encryption_key_id_hash_total",
        MetricKind::Counter,
        &[("transformation_type", "to_storage"), ("provider_name", "my-kms")],
        3.0,
    )];
    let families = check(&busy().render(&engine));
    let mut families: Vec<_> = families.iter().map(|(n, k)| (n.as_str(), k.as_str())).collect();
    families.sort_unstable();
    assert_eq!(
        families,
        [
            (
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
                "gauge"
            ),
            ("apiserver_encryption_config_controller_automatic_reloads_total", "counter"),
            ("apiserver_encryption_config_controller_last_config_info", "gauge"),
            ("apiserver_envelope_encryption_key_id_hash_total", "counter"),
            ("apiserver_envelope_encryption_kms_operations_latency_seconds", "histogram"),
            ("apiserver_storage_data_key_generation_duration_seconds", "histogram"),
            ("apiserver_storage_transformation_duration_seconds", "histogram"),
            ("dekker_component_restarts_total", "counter"),
            ("dekker_component_traps_total", "counter"),
            ("dekker_http_requests_total", "counter"),
        ]
    );
}

#[test]
fn lines_are_exact() {
    let text =
        busy().render(&[family("x_total", MetricKind::Counter, &[("a", "1"), ("b", "2")], 3.5)]);
    let id = sha256_label("server-1");
    for line in [
        "# HELP apiserver_storage_transformation_duration_seconds How long successful reads and writes took, including the wait for the plugin.",
        "apiserver_storage_transformation_duration_seconds_bucket{le=\"5e-06\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v2:my-kms:\"} 0",
        "apiserver_storage_transformation_duration_seconds_bucket{le=\"83.88608\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v2:my-kms:\"} 1",
        "apiserver_storage_transformation_duration_seconds_bucket{le=\"+Inf\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v2:my-kms:\"} 1",
        "apiserver_envelope_encryption_kms_operations_latency_seconds_bucket{le=\"0.0001\",provider_name=\"my-kms\",method_name=\"/v2.KeyManagementService/Encrypt\",grpc_status_code=\"OK\"} 0",
        "apiserver_envelope_encryption_kms_operations_latency_seconds_count{provider_name=\"my-kms\",method_name=\"/v2.KeyManagementService/Status\",grpc_status_code=\"DeadlineExceeded\"} 1",
        "dekker_http_requests_total{path=\"/v1/to-storage\",class=\"2xx\"} 1",
        "dekker_component_traps_total 1",
        "dekker_component_restarts_total 1",
        &format!(
            "apiserver_encryption_config_controller_automatic_reloads_total{{status=\"success\",apiserver_id_hash=\"{id}\"}} 1"
        ),
        &format!(
            "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds{{status=\"success\",apiserver_id_hash=\"{id}\"}} 1700000000.25"
        ),
        &format!(
            "apiserver_encryption_config_controller_last_config_info{{apiserver_id_hash=\"{id}\",hash=\"sha256:bb\"}} 1"
        ),
        "# HELP x_total Help, with a \\\\ and a\\nnewline.",
        "x_total{a=\"1\",b=\"2\"} 3.5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains("sha256:aa"), "only the latest configuration has an info series");
}

#[test]
fn apiserver_id_is_hashed_and_empty_stays_empty() {
    assert_eq!(sha256_label(""), "");
    assert_eq!(
        sha256_label("abc"),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
    );
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new("");
    metrics.observe_kms("a\"b\\c\nd", "/v2.KeyManagementService/Status", 0, MS);
    let text = metrics.render(&[family(
        "g",
        MetricKind::Gauge,
        &[("l", "a\"b\\c\nd le=\"5e-6\"")],
        f64::INFINITY,
    )]);
    check(&text);
    assert!(text.contains("provider_name=\"a\\\"b\\\\c\\nd\""), "{text}");
    assert!(text.contains("g{l=\"a\\\"b\\\\c\\nd le=\\\"5e-6\\\"\"} +Inf\n"), "{text}");
}

#[test]
fn families_that_would_invalidate_the_text_are_left_out() {
    let ok = family("fine", MetricKind::Gauge, &[], 1.0);
    let table = [
        ("same name twice", ok.clone()),
        (
            "a name of the host's",
            family("dekker_component_traps_total", MetricKind::Counter, &[], 9.0),
        ),
        ("name with a space", family("bad name", MetricKind::Gauge, &[], 1.0)),
        ("name with a newline", family("bad\nname", MetricKind::Gauge, &[], 1.0)),
        ("empty name", family("", MetricKind::Gauge, &[], 1.0)),
        ("leading digit", family("1x", MetricKind::Gauge, &[], 1.0)),
        ("malformed label", family("x", MetricKind::Gauge, &[("a\"", "v")], 1.0)),
        (
            "no samples",
            MetricFamily { samples: Vec::new(), ..family("x", MetricKind::Gauge, &[], 1.0) },
        ),
    ];
    let metrics = Metrics::new("");
    let alone = metrics.render(std::slice::from_ref(&ok));
    for (desc, bad) in table {
        assert_eq!(metrics.render(&[ok.clone(), bad]), alone, "{desc}");
    }
    check(&alone);
}

#[test]
fn oldest_series_is_removed_at_the_limit() {
    let metrics = Metrics::new("");
    for i in 0..=MAX_SERIES {
        metrics.observe_kms(&format!("p{i}"), "/v2.KeyManagementService/Status", 0, MS);
    }
    let text = metrics.render(&[]);
    assert!(!text.contains("provider_name=\"p0\""));
    assert!(text.contains("provider_name=\"p1\""));
    assert!(text.contains(&format!("provider_name=\"p{MAX_SERIES}\"")));
    assert_eq!(text.matches("_seconds_count{").count(), MAX_SERIES);
}

#[test]
fn forgotten_provider_leaves_no_series() {
    let metrics = busy();
    metrics.observe_kms("other", "/v2.KeyManagementService/Status", 99, MS);
    metrics.forget_provider("my-kms");
    let text = metrics.render(&[]);
    assert!(!text.contains("provider_name=\"my-kms\""));
    assert!(text.contains("provider_name=\"other\",method_name=\"/v2.KeyManagementService/Status\",grpc_status_code=\"Unknown\""));
}

#[test]
fn failed_calls_are_counted_by_their_codes() {
    let metrics = Metrics::new("");
    let methods = [
        "/v2.KeyManagementService/Status",
        "/v2.KeyManagementService/Encrypt",
        "/v2.KeyManagementService/Decrypt",
    ];
    // google.golang.org/grpc/codes. 99 is not one of these codes.
    let names = [
        (0, "OK"),
        (1, "Canceled"),
        (2, "Unknown"),
        (3, "InvalidArgument"),
        (4, "DeadlineExceeded"),
        (5, "NotFound"),
        (6, "AlreadyExists"),
        (7, "PermissionDenied"),
        (8, "ResourceExhausted"),
        (9, "FailedPrecondition"),
        (10, "Aborted"),
        (11, "OutOfRange"),
        (12, "Unimplemented"),
        (13, "Internal"),
        (14, "Unavailable"),
        (15, "DataLoss"),
        (16, "Unauthenticated"),
        (99, "Unknown"),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (at, (code, name)) in names.into_iter().enumerate() {
        let method = methods[at % methods.len()];
        metrics.observe_kms("p", method, code, MS);
        *expected.entry((method, name)).or_insert(0) += 1;
    }
    let text = metrics.render(&[]);
    let found = text.matches("kms_operations_latency_seconds_count{").count();
    assert_eq!(found, expected.len());
    for ((method, name), count) in expected {
        let line = format!(
            "apiserver_envelope_encryption_kms_operations_latency_seconds_count{{provider_name=\"p\",method_name=\"{method}\",grpc_status_code=\"{name}\"}} {count}"
        );
        assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
    }
}

#[test]
fn calls_of_kms_v1_have_dekkers_own_metric() {
    let metrics = Metrics::new("");
    metrics.observe_kms("old", "/v1beta1.KeyManagementService/Encrypt", 0, MS);
    let text = metrics.render(&[]);
    assert!(!text.contains("apiserver_envelope_encryption_kms_operations_latency_seconds_count"));
    assert!(text.contains("dekker_kms_v1_operations_latency_seconds_count{provider_name=\"old\","));
    metrics.forget_provider("old");
    assert!(!metrics.render(&[]).contains("provider_name"));
}

#[test]
fn each_kind_of_reload_has_its_time_and_only_the_last_hash_stays() {
    let metrics = Metrics::new("me");
    let id = sha256_label("me");
    let lines = |name: &str| {
        let name = format!("apiserver_encryption_config_controller_{name}{{");
        let text = metrics.render(&[]);
        let lines = text.lines().filter_map(|line| line.strip_prefix(&*name));
        let mut lines: Vec<_> = lines.map(|line| line.replace(&id, "ID")).collect();
        lines.sort();
        lines
    };
    metrics.config_loaded("sha256:first");
    metrics.reload_failed(1.5);
    assert_eq!(lines("last_config_info"), ["apiserver_id_hash=\"ID\",hash=\"sha256:first\"} 1"]);
    assert_eq!(
        lines("automatic_reload_last_timestamp_seconds"),
        ["status=\"failure\",apiserver_id_hash=\"ID\"} 1.5"]
    );
    metrics.reload_succeeded("sha256:second", 2.5);
    metrics.reload_succeeded("sha256:third", 3.5);
    metrics.reload_failed(4.5);
    assert_eq!(lines("last_config_info"), ["apiserver_id_hash=\"ID\",hash=\"sha256:third\"} 1"]);
    assert_eq!(
        lines("automatic_reload_last_timestamp_seconds"),
        [
            "status=\"failure\",apiserver_id_hash=\"ID\"} 4.5",
            "status=\"success\",apiserver_id_hash=\"ID\"} 3.5"
        ]
    );
    assert_eq!(
        lines("automatic_reloads_total"),
        [
            "status=\"failure\",apiserver_id_hash=\"ID\"} 2",
            "status=\"success\",apiserver_id_hash=\"ID\"} 2"
        ]
    );
}

#[test]
fn histogram_of_the_engine_is_rendered_as_a_histogram() {
    let sample = |labels: &[(&str, &str)], value| Sample {
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        value,
    };
    let arrivals = MetricFamily {
        samples: vec![
            sample(&[("d", "x"), ("le", "60")], 1.0),
            sample(&[("d", "x"), ("le", "+Inf")], 3.0),
            sample(&[("d", "x")], 180.25),
        ],
        ..family("arrivals", MetricKind::Histogram, &[], 0.0)
    };
    let text = Metrics::new("").render(&[arrivals]);
    check(&text);
    let shown: Vec<_> = text.lines().filter(|l| l.contains("arrivals")).collect();
    assert_eq!(
        shown[1..],
        [
            "# TYPE arrivals histogram",
            "arrivals_bucket{d=\"x\",le=\"60\"} 1",
            "arrivals_bucket{d=\"x\",le=\"+Inf\"} 3",
            "arrivals_count{d=\"x\"} 3",
            "arrivals_sum{d=\"x\"} 180.25",
        ]
    );
}

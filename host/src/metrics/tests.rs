use super::*;

const MS: Duration = Duration::from_millis(1);

fn family(name: &str, kind: MetricKind, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    MetricFamily {
        name: name.to_owned(),
        help: "Help, with a \\ and a\nnewline.".to_owned(),
        kind,
        samples: vec![Sample {
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            value,
        }],
    }
}

fn busy() -> Metrics {
    let metrics = Metrics::new("server-1");
    metrics.observe_kms("my-kms", "/v2.KeyManagementService/Encrypt", 0, MS);
    metrics.observe_kms("my-kms", "/v2.KeyManagementService/Status", 4, MS);
    metrics.observe_transformation(TransformationType::ToStorage, "k8s:enc:kms:v2:my-kms:", MS);
    metrics.http_request("/v1/to-storage", 200);
    metrics.trap();
    metrics.restart();
    metrics.config_loaded("sha256:aa");
    metrics.reload_succeeded("sha256:bb", 1_700_000_000.25);
    metrics.reload_failed(1_700_000_001.0);
    metrics
}

/// A reader of the format: every sample belongs to the `# TYPE` above it, and no family comes twice.
fn check(text: &str) -> Vec<(String, String)> {
    let mut families: Vec<(String, String)> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').expect("help text").0;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert_eq!(name, help, "HELP stands above TYPE");
            assert!(
                families.iter().all(|(seen, _)| seen != name),
                "{name} comes twice"
            );
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
            assert!(
                suffix.is_some_and(|s| expected.contains(&s)),
                "{sample} below {name}"
            );
            assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
    families
}

#[test]
fn names_and_types_are_upstreams() {
    let engine = [family(
        "apiserver_envelope_encryption_key_id_hash_total",
        MetricKind::Counter,
        &[
            ("transformation_type", "to_storage"),
            ("provider_name", "my-kms"),
        ],
        3.0,
    )];
    let families = check(&busy().render(&engine));
    let mut families: Vec<_> = families
        .iter()
        .map(|(n, k)| (n.as_str(), k.as_str()))
        .collect();
    families.sort_unstable();
    assert_eq!(
        families,
        [
            (
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
                "gauge"
            ),
            (
                "apiserver_encryption_config_controller_automatic_reloads_total",
                "counter"
            ),
            (
                "apiserver_encryption_config_controller_last_config_info",
                "gauge"
            ),
            ("apiserver_envelope_encryption_key_id_hash_total", "counter"),
            (
                "apiserver_envelope_encryption_kms_operations_latency_seconds",
                "histogram"
            ),
            (
                "apiserver_storage_data_key_generation_duration_seconds",
                "histogram"
            ),
            (
                "apiserver_storage_transformation_duration_seconds",
                "histogram"
            ),
            ("dekker_component_restarts_total", "counter"),
            ("dekker_component_traps_total", "counter"),
            ("dekker_http_requests_total", "counter"),
        ]
    );
}

#[test]
fn lines_are_exact() {
    let text = busy().render(&[family(
        "x_total",
        MetricKind::Counter,
        &[("a", "1"), ("b", "2")],
        3.5,
    )]);
    // printf server-1 | sha256sum
    let id = sha256_label("server-1");
    for line in [
        "# HELP apiserver_storage_transformation_duration_seconds How long reads and writes that succeeded took, waiting for the plugin included.",
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
    assert!(
        !text.contains("sha256:aa"),
        "only the latest configuration has an info series"
    );
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
    assert!(
        text.contains("g{l=\"a\\\"b\\\\c\\nd le=\\\"5e-6\\\"\"} +Inf\n"),
        "{text}"
    );
}

#[test]
fn families_that_would_spoil_the_text_are_left_out() {
    let ok = family("fine", MetricKind::Gauge, &[], 1.0);
    let table = [
        ("same name twice", ok.clone()),
        (
            "a name of the host's",
            family(
                "dekker_component_traps_total",
                MetricKind::Counter,
                &[],
                9.0,
            ),
        ),
        (
            "name with a space",
            family("bad name", MetricKind::Gauge, &[], 1.0),
        ),
        (
            "name with a newline",
            family("bad\nname", MetricKind::Gauge, &[], 1.0),
        ),
        ("empty name", family("", MetricKind::Gauge, &[], 1.0)),
        ("leading digit", family("1x", MetricKind::Gauge, &[], 1.0)),
        (
            "malformed label",
            family("x", MetricKind::Gauge, &[("a\"", "v")], 1.0),
        ),
        (
            "no samples",
            MetricFamily {
                samples: Vec::new(),
                ..family("x", MetricKind::Gauge, &[], 1.0)
            },
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
fn oldest_series_gives_way() {
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

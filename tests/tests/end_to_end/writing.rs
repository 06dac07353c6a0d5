//! One DEK for all writes: no KMS call for each write, and no nonce used twice.

use std::collections::{BTreeSet, HashSet};

use dekker_proto::storage::{EncryptedDekSourceType, EncryptedObject};
use prost::Message;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::server::{kms_calls, metric};
use crate::stage::play;

const CONNECTIONS: usize = 16;
const WRITES: usize = 10_000;

async fn write_many(mut connection: Connection, task: usize) -> Vec<Vec<u8>> {
    let mut stored = Vec::new();
    for round in 0..WRITES / CONNECTIONS {
        let key = format!("/registry/secrets/default/{task}-{round}");
        let answer = connection.write(key.as_bytes(), b"value").await;
        stored.push(answer.expect("an answer").ok());
    }
    stored
}

#[test]
fn ten_thousand_writes_make_one_encrypt_call_and_no_nonce_twice() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let mut writers = JoinSet::new();
        for task in 0..CONNECTIONS {
            writers.spawn(write_many(server.connect().await, task));
        }
        let stored: Vec<Vec<u8>> = writers.join_all().await.into_iter().flatten().collect();
        assert_eq!(stored.len(), WRITES);

        let objects: Vec<EncryptedObject> = stored
            .iter()
            .map(|stored| {
                let value = stored.strip_prefix(b"k8s:enc:kms:v2:dekker:");
                EncryptedObject::decode(value.expect("the prefix")).expect("an EncryptedObject")
            })
            .collect();
        let nonces: HashSet<&[u8]> =
            objects.iter().map(|object| &object.encrypted_data[..12]).collect();
        assert_eq!(nonces.len(), WRITES, "all nonces differ");
        let counters: BTreeSet<u64> = nonces
            .iter()
            .map(|nonce| u64::from_le_bytes(nonce[4..].try_into().expect("8 bytes")))
            .collect();
        assert_eq!(counters.len(), WRITES, "all counters differ");
        assert!(
            counters.first() >= Some(&1_000_000_001),
            "the counter starts where upstream's does"
        );
        // The control instance and each worker use one contiguous part of the counter, without gaps.
        let workers = server.status().await["workers"].as_u64().expect("a number");
        let starts = counters.iter().filter(|of| !counters.contains(&(**of - 1)));
        assert!((1..=workers + 1).contains(&(starts.count() as u64)));
        let deks: HashSet<&[u8]> =
            objects.iter().map(|object| &object.encrypted_dek_source[..]).collect();
        assert_eq!(deks.len(), 1, "one DEK");
        let key = EncryptedDekSourceType::AesGcmKey;
        assert!(objects.iter().all(|object| object.encrypted_dek_source_type() == key));

        let metrics = server.metrics().await;
        assert_eq!(kms_calls(&metrics, "Encrypt"), 1.0);
        assert_eq!(kms_calls(&metrics, "Decrypt"), 1.0, "the proof that the plugin can decrypt it");
        let writes = metric(
            &metrics,
            "apiserver_storage_transformation_operations_total",
            &[("transformation_type", "to_storage"), ("status", "OK"), ("resource", "secrets")],
        );
        assert_eq!(writes, WRITES as f64);

        // The plugin's own counts. Reading them takes one more Status call.
        let state = stage.state().display().to_string();
        let status = stage.run(&["kms", "status", "--state-dir", &state], b"").await;
        let text = String::from_utf8(status.done()).expect("text");
        let polled = kms_calls(&metrics, "Status") + 1.0;
        let expected = format!("calls        Status {polled}, Encrypt 1, Decrypt 1\n");
        assert!(text.ends_with(&expected), "{text}");
    });
}

#[test]
fn the_hkdf_seed_option_writes_seeds_and_still_reads_counter_keys() {
    play(async |stage| {
        let counted = stage.serve(&[]).await;
        let old = counted.write("/k", b"old").await;
        counted.stop().await;
        let seeded = stage.serve(&["--dek-source", "hkdf-seed"]).await;
        let new = seeded.write("/k", b"new").await;
        let value = new.strip_prefix(b"k8s:enc:kms:v2:dekker:").expect("the prefix");
        let object = EncryptedObject::decode(value).expect("an EncryptedObject");
        let seed = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed;
        assert_eq!(object.encrypted_dek_source_type(), seed);
        assert_eq!(object.encrypted_data.len(), 32 + 12 + 3 + 16);
        assert_eq!(seeded.read_well("/k", &new).await, (b"new".to_vec(), false));
        assert_eq!(seeded.read_well("/k", &old).await, (b"old".to_vec(), true));
    });
}

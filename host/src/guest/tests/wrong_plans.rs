//! A plan that names a key or bytes that do not exist is an error, and never gives bytes of another value.

use wasmtime::component::Resource;
use zeroize::Zeroizing;

use super::super::plan_calls::{ReadPlan, WritePlan, open, seal};
use super::super::*;

fn state() -> State {
    State { limits: StoreLimitsBuilder::new().build(), keys: Keys::new(1 << 20) }
}

#[test]
fn a_read_plan_opens_only_bytes_that_the_value_has_with_a_key_that_opens() {
    let mut state = state();
    let secret = state.keys.put_secret(Zeroizing::new(vec![7; 32])).unwrap();
    let number = secret.rep();
    let stored = b"k8s:enc:kms:v2:a:0123456789";
    let plan = |opener, start, end| ReadPlan { opener, start, end, labels: 0, state: None };
    // Nothing to open: the value itself.
    let copied = open(&state, plan(None, 5, 1), b"/k", stored).unwrap().unwrap();
    assert_eq!(**copied, *stored);
    for (desc, plan) in [
        ("past the end", plan(Some(number), 20, 28)),
        ("a start after the end", plan(Some(number), 9, 8)),
        ("the largest numbers", plan(Some(number), u32::MAX, u32::MAX)),
        ("a secret, which opens nothing", plan(Some(number), 0, 20)),
        ("no key", plan(Some(number + 1), 0, 20)),
    ] {
        assert!(open(&state, plan, b"/k", stored).is_err(), "{desc}");
    }
}

#[test]
fn a_write_plan_seals_only_with_a_sealer_that_exists() {
    let mut state = state();
    let secret = state.keys.put_secret(Zeroizing::new(vec![7; 32])).unwrap();
    let plan = |sealer| WritePlan { sealer, counter: Some(1), labels: 0 };
    for sealer in [secret.rep(), secret.rep() + 1, u32::MAX] {
        assert!(seal(&state, plan(Some(sealer)), b"/k", b"plaintext").is_err(), "{sealer}");
    }
    let stored = seal(&state, plan(None), b"/k", b"plaintext").unwrap().unwrap();
    assert_eq!(stored, b"plaintext");
    // A handle that was taken out names nothing.
    let number = secret.rep();
    state.keys.take_secret(Resource::new_own(number)).unwrap();
    assert!(seal(&state, plan(Some(number)), b"/k", b"plaintext").is_err());
}

//! The room that parked operations take, and give back.

use super::*;

const A: ProviderId = ProviderId(1);
const B: ProviderId = ProviderId(2);

fn parked(provider: Option<ProviderId>, operation: Operation) -> Parked {
    let begun = Begun { generation: Generation(0), at: Timestamp::from_millis(0) };
    Parked { wait: Wait::Probes, provider, begun, operation, resumed: None }
}

fn target() -> Target {
    Target { label: "r".into(), list: Arc::from([]), has_rule: true }
}

fn write(provider: ProviderId, size: usize) -> Parked {
    let write = WriteOperation { target: target(), size };
    parked(Some(provider), Operation::Write(write))
}

fn read(provider: ProviderId, size: usize) -> Parked {
    let progress = ReadProgress::default();
    let read = ReadOperation { target: target(), size, progress };
    parked(Some(provider), Operation::Read(read))
}

fn health() -> Parked {
    let set = Arc::new(ConfigSet::empty());
    let health = HealthOperation { set, waiting: Vec::new(), faults: Vec::new() };
    parked(None, Operation::Health(health))
}

#[test]
fn parked_operations_hold_at_most_64_mib() {
    assert_eq!(PARKED_BYTES_MAX, 67_108_864);
}

#[test]
fn an_operation_gives_its_room_back() {
    let mut all = ParkedOperations::default();
    for (op, parked) in [write(A, 4), read(A, 7), write(B, 5), health()].into_iter().enumerate() {
        all.insert(OpId(op as u64), parked);
    }
    let share =
        |all: &ParkedOperations, of| all.shares.get(&of).map(|share| (share.count, share.bytes));
    let room = |all: &ParkedOperations| (all.health, all.bytes, share(all, A), share(all, B));
    assert_eq!(room(&all), (1, 16, Some((2, 11)), Some((1, 5))));
    for (op, expected) in [
        (1, (1, 9, Some((1, 4)), Some((1, 5)))),
        (0, (1, 5, None, Some((1, 5)))),
        (3, (0, 5, None, Some((1, 5)))),
        (2, (0, 0, None, None)),
    ] {
        assert!(all.remove(OpId(op)).is_some());
        assert_eq!(room(&all), expected, "without {op}");
    }
    assert!(all.remove(OpId(2)).is_none());
}

#[test]
fn health_checks_take_no_room_of_reads_and_writes() {
    let mut all = ParkedOperations::default();
    all.insert(OpId(0), health());
    for op in 1..PARKED_MAX as u64 {
        all.insert(OpId(op), write(A, 4));
    }
    let one_more = Place::Needed(0);
    assert!(all.has_room(B, one_more, false));
    assert!(all.has_room(A, one_more, true));
    assert!(!all.has_room(A, one_more, false), "A leaves no room for others");
    all.insert(OpId(u64::MAX), write(B, 4));
    assert!(!all.has_room(B, one_more, false));
    assert!(!all.has_room(A, one_more, true));
    assert!(all.has_room(A, Place::Taken, true));
}

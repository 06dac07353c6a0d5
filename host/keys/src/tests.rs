use super::*;

fn opening() -> OpeningKey {
    OpeningKey(Arc::new(GcmKey::aes(&[7; 32]).unwrap()))
}

#[test]
fn keys_are_bounded_and_a_dropped_one_makes_room() {
    let mut keys = Keys::new(2 * KEY_SIZE);
    let first = keys.push(opening()).unwrap();
    keys.push(opening()).unwrap();
    assert!(keys.push(opening()).is_err(), "a third");
    keys.drop_key::<OpeningKey>(first.rep()).unwrap();
    keys.push(opening()).unwrap();
}

#[test]
fn a_handle_has_one_key_type_and_its_drop_drops_the_key() {
    let mut keys = Keys::new(10 * KEY_SIZE);
    let key = opening();
    let watch = Arc::downgrade(&key.0);
    let handle = keys.push(key).unwrap();
    // A number from the component does not determine the type of the key.
    let as_sealing = Resource::<SealingKey>::new_borrow(handle.rep());
    assert!(keys.table.get(&as_sealing).is_err());
    assert!(keys.drop_key::<OpeningKey>(handle.rep() + 1).is_err());
    assert!(watch.upgrade().is_some());
    keys.drop_key::<OpeningKey>(handle.rep()).unwrap();
    assert!(watch.upgrade().is_none());
}

#[test]
fn keys_end_with_their_store() {
    let mut keys = Keys::new(10 * KEY_SIZE);
    let key = opening();
    let watch = Arc::downgrade(&key.0);
    keys.push(key).unwrap();
    drop(keys);
    assert!(watch.upgrade().is_none());
}

#[test]
fn erase_empties_and_shrinks_the_buffer() {
    let mut keys = Keys::new(0);
    for len in [100, BUFFER_KEPT + 1] {
        let mut buffer = keys.take_buffer();
        buffer.resize(len, 7);
        let lent = keys.lend(buffer);
        assert_eq!(*lent, vec![7; len]);
        drop(lent);
        keys.erase();
        assert!(keys.buffer.is_empty());
        assert!(keys.buffer.capacity() <= BUFFER_KEPT);
    }
}

//! A bounded map from DEKs' keys, the least recently used entry leaving first.

use alloc::vec;
use alloc::vec::Vec;

use super::CacheKey;

/// No slot.
const NONE: u32 = u32::MAX;

/// Entries in a list of slots, linked from the oldest to the newest use, and a table that finds them.
///
/// A key is a SHA-256 hash, so its own first bytes say where in the table it is: a general hash map and its hash function would be ten times
/// the code.
pub(super) struct Lru<V> {
    slots: Vec<Slot<V>>,
    /// Slots' numbers by their keys' first bytes, with linear probing; at most half full. Its length is a power of two.
    table: Vec<u32>,
    oldest: u32,
    newest: u32,
    capacity: usize,
}

struct Slot<V> {
    key: CacheKey,
    value: V,
    older: u32,
    newer: u32,
}

impl<V> Lru<V> {
    /// Holds at most `capacity` entries; memory is taken as they come.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            table: vec![NONE; 8],
            oldest: NONE,
            newest: NONE,
            capacity,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entry's value, which now is the most recently used.
    pub(super) fn get(&mut self, key: &CacheKey) -> Option<&V> {
        let slot = self.table[self.find(key).ok()?];
        self.unlink(slot);
        self.link(slot);
        Some(&self.slots[slot as usize].value)
    }

    /// Adds an entry as the most recently used; the least recently used one leaves if there is no room.
    pub(super) fn insert(&mut self, key: CacheKey, value: V) {
        if let Ok(at) = self.find(&key) {
            let slot = self.table[at];
            self.slots[slot as usize].value = value;
            self.unlink(slot);
            self.link(slot);
            return;
        }
        let new = Slot {
            key,
            value,
            older: NONE,
            newer: NONE,
        };
        let slot = if self.slots.len() < self.capacity {
            self.slots.push(new);
            self.slots.len() as u32 - 1
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            if let Ok(at) = self.find(&self.slots[slot as usize].key) {
                self.vacate(at);
            }
            self.slots[slot as usize] = new;
            slot
        };
        self.link(slot);
        if self.slots.len() * 2 > self.table.len() {
            self.table = vec![NONE; self.table.len() * 2];
            for slot in 0..self.slots.len() {
                self.enter(slot as u32);
            }
        } else {
            self.enter(slot);
        }
    }

    /// Where in the table a key belongs, if that place is free.
    fn home(&self, key: &CacheKey) -> usize {
        let CacheKey([a, b, c, d, ..]) = *key;
        u32::from_le_bytes([a, b, c, d]) as usize & (self.table.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.table.len() - 1)
    }

    /// Where in the table a key is, or the free place where the search for it ended.
    fn find(&self, key: &CacheKey) -> Result<usize, usize> {
        let mut at = self.home(key);
        loop {
            match self.table[at] {
                NONE => return Err(at),
                slot if self.slots[slot as usize].key == *key => return Ok(at),
                _ => at = self.next(at),
            }
        }
    }

    /// Puts a slot that is not there into the table.
    fn enter(&mut self, slot: u32) {
        if let Err(at) = self.find(&self.slots[slot as usize].key) {
            self.table[at] = slot;
        }
    }

    /// Frees a place of the table. What was put behind it because it was taken moves up.
    fn vacate(&mut self, mut free: usize) {
        let mask = self.table.len() - 1;
        let mut at = self.next(free);
        while self.table[at] != NONE {
            let home = self.home(&self.slots[self.table[at] as usize].key);
            // As far from its home as the free place is behind it, or farther: the search for it passes the free place.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(free) & mask {
                self.table[free] = self.table[at];
                free = at;
            }
            at = self.next(at);
        }
        self.table[free] = NONE;
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { older, newer, .. } = self.slots[slot as usize];
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }

    /// As the newest.
    fn link(&mut self, slot: u32) {
        let newest = self.newest;
        match self.slots.get_mut(newest as usize) {
            Some(newest) => newest.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        let this = &mut self.slots[slot as usize];
        this.older = newest;
        this.newer = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys that crowd in few places of the table.
    fn key(n: u8) -> CacheKey {
        let mut bytes = [0; 32];
        bytes[0] = n % 3 * 5;
        bytes[31] = n;
        CacheKey(bytes)
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_in_order_of_use_does(capacity in 1usize..12, steps in proptest::collection::vec((any::<bool>(), 0u8..24), 0..200)) {
            let mut lru = Lru::new(capacity);
            let mut model: Vec<(u8, usize)> = Vec::new();
            for (at, (insert, n)) in steps.into_iter().enumerate() {
                let known = model.iter().position(|(key, _)| *key == n).map(|at| model.remove(at));
                if insert {
                    lru.insert(key(n), at);
                    if model.len() == capacity {
                        model.remove(0);
                    }
                    model.push((n, at));
                } else {
                    prop_assert_eq!(lru.get(&key(n)).copied(), known.map(|(_, value)| value));
                    model.extend(known);
                }
                prop_assert_eq!(lru.len(), model.len());
            }
            for (n, value) in &model {
                prop_assert_eq!(lru.get(&key(*n)), Some(value));
            }
        }
    }

    #[test]
    fn a_large_one_keeps_all_it_has_room_for() {
        let mut lru = Lru::new(5000);
        let key = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
            CacheKey(bytes)
        };
        for n in 0..6000 {
            lru.insert(key(n), n);
        }
        assert!((0..1000).all(|n| lru.get(&key(n)).is_none()));
        assert!((1000..6000).all(|n| lru.get(&key(n)) == Some(&n)));
    }
}

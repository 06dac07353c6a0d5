//! A bounded map from the names of DEKs, which evicts the least recently used entry.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

/// Marks the absence of a slot.
const NONE: u32 = u32::MAX;

/// A list of slots, linked from the least to the most recently used, and a hash table that finds them.
///
/// The caller supplies the hash of each key. A general hash map would be ten times the code.
pub(super) struct Lru<V> {
    slots: Vec<Slot<V>>,
    /// Indexed by the lower half of the hash, with linear probing. At most half full. Its length is a power of two.
    table: Vec<Place>,
    oldest: u32,
    newest: u32,
    capacity: NonZeroUsize,
}

/// A place in the table: the index of a slot, and the upper half of the slot's hash, so that few keys are compared in vain.
#[derive(Clone, Copy)]
struct Place {
    slot: u32,
    tag: u32,
}

const FREE: Place = Place { slot: NONE, tag: 0 };

struct Slot<V> {
    hash: u64,
    key: Box<[u8]>,
    value: V,
    older: u32,
    newer: u32,
}

impl<V> Lru<V> {
    /// Creates a map for at most `capacity` entries. Memory is allocated as entries are added.
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self { slots: Vec::new(), table: vec![FREE; 8], oldest: NONE, newest: NONE, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the value of an entry and marks it as the most recently used. `is` identifies its key among those with the same hash.
    pub(super) fn get(&mut self, hash: u64, is: impl Fn(&[u8]) -> bool) -> Option<&V> {
        let slot = self.table[self.find(hash, is).ok()?].slot;
        self.touch(slot);
        Some(&self.slots[slot as usize].value)
    }

    /// Adds an entry as the most recently used one. If the map is full, evicts the least recently used entry.
    pub(super) fn insert(&mut self, hash: u64, key: Box<[u8]>, value: V) {
        if let Ok(at) = self.find(hash, |known| *known == *key) {
            let slot = self.table[at].slot;
            self.slots[slot as usize].value = value;
            self.touch(slot);
            return;
        }
        let new = Slot { hash, key, value, older: NONE, newer: NONE };
        let slot = if self.slots.len() < self.capacity.get() {
            self.slots.push(new);
            self.slots.len() as u32 - 1
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            self.vacate(self.place_of(slot));
            self.slots[slot as usize] = new;
            slot
        };
        self.link(slot);
        if self.slots.len() * 2 > self.table.len() {
            self.table = vec![FREE; self.table.len() * 2];
            for slot in 0..self.slots.len() {
                self.enter(slot as u32);
            }
        } else {
            self.enter(slot);
        }
    }

    /// Returns the place in the table where the search for a hash begins.
    fn home(&self, hash: u64) -> usize {
        hash as u32 as usize & (self.table.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.table.len() - 1)
    }

    /// Returns the place of a key in the table, or as `Err` the free place at which the search for it ended.
    fn find(&self, hash: u64, is: impl Fn(&[u8]) -> bool) -> Result<usize, usize> {
        let mut at = self.home(hash);
        loop {
            match self.table[at] {
                Place { slot: NONE, tag: _ } => return Err(at),
                Place { slot, tag }
                    if tag == tag_of(hash) && is(&self.slots[slot as usize].key) =>
                {
                    return Ok(at);
                }
                _ => at = self.next(at),
            }
        }
    }

    /// Returns the place of a slot that is in the table.
    fn place_of(&self, slot: u32) -> usize {
        let mut at = self.home(self.slots[slot as usize].hash);
        while self.table[at].slot != slot {
            at = self.next(at);
        }
        at
    }

    /// Adds a slot that is not in the table.
    fn enter(&mut self, slot: u32) {
        let hash = self.slots[slot as usize].hash;
        let mut at = self.home(hash);
        while self.table[at].slot != NONE {
            at = self.next(at);
        }
        self.table[at] = Place { slot, tag: tag_of(hash) };
    }

    /// Frees a place in the table. Entries that were stored after it because it was taken move up.
    fn vacate(&mut self, mut free: usize) {
        let mask = self.table.len() - 1;
        let mut at = self.next(free);
        while self.table[at].slot != NONE {
            let home = self.home(self.slots[self.table[at].slot as usize].hash);
            // The entry is at least as far from the start of its search as from the free place. The search therefore passes the free place, so the
            // entry may move there.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(free) & mask {
                self.table[free] = self.table[at];
                free = at;
            }
            at = self.next(at);
        }
        self.table[free] = FREE;
    }

    /// Marks a slot as the most recently used.
    fn touch(&mut self, slot: u32) {
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
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

    /// Links a slot as the most recently used one.
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

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns hashes that fall on few places of the table; several keys have the same hash.
    fn hash(n: u8) -> u64 {
        u64::from(n % 3 * 5) | u64::from(n % 5) << 32
    }

    fn get(lru: &mut Lru<usize>, n: u8) -> Option<usize> {
        lru.get(hash(n), |key| key == [n]).copied()
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_list_in_order_of_use(capacity in 1usize..12, steps in proptest::collection::vec((any::<bool>(), 0u8..24), 0..200)) {
            let mut lru = Lru::new(NonZeroUsize::new(capacity).unwrap());
            let mut model: Vec<(u8, usize)> = Vec::new();
            for (at, (insert, n)) in steps.into_iter().enumerate() {
                let known = model.iter().position(|(key, _)| *key == n).map(|at| model.remove(at));
                if insert {
                    lru.insert(hash(n), [n].into(), at);
                    if model.len() == capacity {
                        model.remove(0);
                    }
                    model.push((n, at));
                } else {
                    prop_assert_eq!(get(&mut lru, n), known.map(|(_, value)| value));
                    model.extend(known);
                }
                prop_assert_eq!(lru.len(), model.len());
            }
            for (n, value) in &model {
                prop_assert_eq!(get(&mut lru, *n), Some(*value));
            }
        }
    }

    #[test]
    fn the_table_is_at_most_half_full_and_the_hash_is_the_place_in_it() {
        let mut lru = Lru::new(NonZeroUsize::new(100).unwrap());
        for n in 0..100_u8 {
            let (place, tag) = (n ^ 1, u32::from(n) + 3);
            lru.insert(u64::from(place) | u64::from(tag) << 32, [n].into(), n);
            assert_eq!(lru.table.len(), (usize::from(n) * 2 + 2).next_power_of_two().max(8), "{n}");
            let at = lru.table[usize::from(place)];
            assert_eq!((at.slot, at.tag), (n.into(), tag));
        }
    }

    #[test]
    fn a_large_cache_fills_to_its_capacity() {
        let mut lru = Lru::new(NonZeroUsize::new(5000).unwrap());
        let hash = |n: u32| u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..6000_u32 {
            lru.insert(hash(n), n.to_be_bytes().into(), n);
        }
        let mut find = |n: u32| lru.get(hash(n), |key| key == n.to_be_bytes()).copied();
        assert!((0..1000).all(|n| find(n).is_none()));
        assert!((1000..6000).all(|n| find(n) == Some(n)));
    }
}

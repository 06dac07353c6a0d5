//! A map in a sorted list. The standard library's B-tree takes four times the code for each pair of types it is used with. With the crate `litemap`, the
//! component is 1.7 kB larger, and a lookup by comparison has to visit every entry.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::num::NonZeroUsize;

/// Maps names to numbers, for names that come from outside in any order and any number. This B-tree adds no code to the component: the YAML parser
/// already uses one of the same types for its anchors.
pub(crate) type Names<'n> = BTreeMap<Cow<'n, str>, usize>;

/// A small map that keeps only the most recently used entries. A lookup compares the keys one by one.
pub(crate) struct RecentlyUsed<K, V> {
    /// Sorted by use; the most recently used entry is last.
    entries: Vec<(K, V)>,
    capacity: NonZeroUsize,
}

impl<K, V> RecentlyUsed<K, V> {
    pub(crate) const fn new(capacity: NonZeroUsize) -> Self {
        Self { entries: Vec::new(), capacity }
    }

    /// Returns the value of the entry whose key satisfies `is`, or of the entry that `new` creates. The entry becomes the most recently used. A new
    /// entry replaces the least recently used one if the map is full.
    pub(crate) fn get_or_insert(
        &mut self,
        is: impl Fn(&K) -> bool,
        new: impl FnOnce() -> (K, V),
    ) -> Option<&mut V> {
        match self.entries.iter().rposition(|(key, _)| is(key)) {
            // It already is the most recently used one.
            Some(at) if at + 1 == self.entries.len() => {}
            Some(at) => {
                if let Some(later) = self.entries.get_mut(at..) {
                    later.rotate_left(1);
                }
            }
            None => {
                if self.entries.len() >= self.capacity.get() {
                    self.entries.remove(0);
                }
                self.entries.push(new());
            }
        }
        self.entries.last_mut().map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, (K, V)> {
        self.entries.iter()
    }
}

/// A map whose entries are a list sorted by key. A lookup takes logarithmic time. An insertion or removal moves the entries after it, so use this for
/// maps that are small, that grow at the end, or whose entries are small (4096 entries of 16 bytes move within microseconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> SortedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Returns the index of the key, or `Err` with the index at which to insert it.
    fn search<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(at, _)| at.borrow().cmp(key))
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.search(key).is_ok()
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Returns the key's previous value.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.search(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| core::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        Some(self.0.remove(at).1)
    }
}

impl<K: Ord> SortedMap<K, u64> {
    /// Adds one to the key's count.
    pub(crate) fn count(&mut self, key: K) {
        match self.search(&key) {
            Ok(at) => {
                if let Some((_, count)) = self.0.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) => self.0.insert(at, (key, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn the_least_recently_used_entry_is_evicted_first() {
        let mut kept = RecentlyUsed::new(NonZeroUsize::new(2).unwrap());
        for key in ["a", "b", "a", "c", "c"] {
            *kept.get_or_insert(|kept| *kept == key, || (key, 0)).unwrap() += 1;
        }
        assert!(kept.iter().eq(&[("a", 2), ("c", 2)]));
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_b_tree_map(steps in proptest::collection::vec((0u8..5, 0u8..16, any::<u16>()), 0..64)) {
            let (mut ours, mut tree) = (SortedMap::new(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(ours.remove(&key), tree.remove(&key)),
                    1 => {
                        ours.retain(|k, v| u16::from(*k) * 100 < *v);
                        tree.retain(|k, v| u16::from(*k) * 100 < *v);
                    }
                    _ => prop_assert_eq!(ours.insert(key, value), tree.insert(key, value)),
                }
                prop_assert!(ours.iter().eq(tree.iter()));
                prop_assert_eq!(ours.get(&key), tree.get(&key));
                prop_assert_eq!(ours.contains_key(&key), tree.contains_key(&key));
            }
        }

        #[test]
        fn each_key_has_its_count(keys in proptest::collection::vec(0u8..4, 0..16)) {
            let mut counts = SortedMap::new();
            for key in &keys {
                counts.count(*key);
            }
            for (key, count) in counts.iter() {
                prop_assert_eq!(keys.iter().filter(|k| *k == key).count() as u64, *count);
            }
        }
    }
}

//! The newest of something, by a key: a map that never outgrows its bound.

use std::collections::{BTreeMap, VecDeque};

/// At most [`Kept::most`] values; the one that came first goes first.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    most: usize,
    values: BTreeMap<K, V>,
    /// Keys in the order in which they came. One that was taken out may still stand here.
    order: VecDeque<K>,
}

impl<K: Copy + Ord, V> Kept<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            values: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.values.remove(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn the_oldest_goes_first() {
        let mut kept = Kept::new(2);
        for key in [1, 2, 1, 3] {
            kept.insert(key, key * 10);
        }
        assert_eq!(kept.len(), 2);
        assert_eq!(
            (kept.get(&1), kept.get(&2), kept.get(&3)),
            (None, Some(&20), Some(&30))
        );
        assert_eq!(kept.remove(&2), Some(20));
        assert_eq!(kept.get(&2), None);
    }
}

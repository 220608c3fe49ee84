//! Numbers that many threads update.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes over a total that is counted elsewhere; it never goes back.
    pub fn set_total(&self, total: u64) {
        self.0.fetch_max(total, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers told apart by a label. The key's type bounds them: an enum, or words that stand in
/// the program's own text; never something from outside.
#[derive(Debug)]
pub struct Family<K, V = u64>(Mutex<BTreeMap<K, V>>);

impl<K: Copy + Ord, V: Copy> Family<K, V> {
    /// Sets one of them. Of a family that counts, this takes over a total counted elsewhere.
    pub fn set(&self, key: K, value: V) {
        self.numbers().insert(key, value);
    }

    /// All that were ever set, by key.
    #[must_use]
    pub fn values(&self) -> Vec<(K, V)> {
        self.numbers()
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect()
    }

    /// No update leaves the map half done, so a panic elsewhere does not spoil it.
    fn numbers(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord> Family<K> {
    /// Adds to one of them. Adding 0 makes it known, so that a first increase can be noticed.
    pub fn add(&self, key: K, count: u64) {
        let mut numbers = self.numbers();
        let number = numbers.entry(key).or_default();
        *number = number.saturating_add(count);
    }
}

impl<K, V> Default for Family<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

//! Who takes up the room: connections and bytes by cgroup, so that a flood costs its own.

use std::collections::BTreeMap;

use crate::{capture::CgroupId, number_map::NumberMap};

/// What all cgroups take up.
#[derive(Debug, Default)]
pub(super) struct Charges {
    by_cgroup: NumberMap<CgroupId, Charge>,
    connections: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Charge {
    /// Where each connection is kept, by its serial number: oldest first.
    connections: BTreeMap<u64, usize>,
    bytes: usize,
}

impl Charges {
    /// Connections of all cgroups.
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Bytes of all cgroups.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, cgroup: CgroupId, serial: u64, place: usize) {
        let charge = self.by_cgroup.entry(cgroup).or_default();
        if charge.connections.insert(serial, place).is_none() {
            self.connections += 1;
        }
    }

    /// A connection is gone, and the bytes it held.
    pub(super) fn remove(&mut self, cgroup: CgroupId, serial: u64, bytes: usize) {
        self.change(cgroup, bytes, 0);
        if let Some(charge) = self.by_cgroup.get_mut(&cgroup)
            && charge.connections.remove(&serial).is_some()
        {
            self.connections -= 1;
            if charge.connections.is_empty() {
                self.by_cgroup.remove(&cgroup);
            }
        }
    }

    /// A connection held `before` bytes and now holds `after`.
    pub(super) fn change(&mut self, cgroup: CgroupId, before: usize, after: usize) {
        if before != after
            && let Some(charge) = self.by_cgroup.get_mut(&cgroup)
        {
            charge.bytes = (charge.bytes + after).saturating_sub(before);
            self.bytes = (self.bytes + after).saturating_sub(before);
        }
    }

    /// The oldest connection of the cgroup that has the most.
    pub(super) fn oldest_of_largest(&self) -> Option<usize> {
        let largest = self
            .by_cgroup
            .values()
            .max_by_key(|charge| charge.connections.len())?;
        largest.connections.values().next().copied()
    }

    /// The connections of the cgroup that holds the most bytes.
    pub(super) fn of_heaviest(&self) -> impl Iterator<Item = usize> {
        let heaviest = self.by_cgroup.values().max_by_key(|charge| charge.bytes);
        heaviest
            .into_iter()
            .flat_map(|charge| charge.connections.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::Charges;

    #[test]
    fn the_largest_gives_first_and_its_oldest_first() {
        let mut charges = Charges::default();
        charges.add(1, 0, 10);
        charges.add(2, 1, 11);
        charges.add(2, 2, 12);
        assert_eq!(charges.oldest_of_largest(), Some(11));
        charges.remove(2, 1, 0);
        charges.add(1, 3, 13);
        assert_eq!(charges.oldest_of_largest(), Some(10));
        charges.change(2, 0, 5);
        assert_eq!(charges.of_heaviest().collect::<Vec<_>>(), [12]);
        charges.remove(2, 2, 5);
        assert_eq!((charges.connections(), charges.bytes()), (2, 0));
    }
}

//! The paths of Multipath TCP (RFC 8684), each of which is a TCP connection of its own.
//!
//! A further path names what it joins by a hash of a key (section 3.2). Who its ends are tells
//! enough: what it joined is one of their connections that were open by then, and which of them it
//! is does not matter to anybody but those who open several.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    capture::{CgroupId, Multipath, Peer, Socket},
    timestamp::Timestamp,
};

/// The cgroups of both ends, in order: either may open a further path.
pub(super) type Ends = (CgroupId, CgroupId);

/// The paths that are open, by their ends.
#[derive(Debug, Default)]
pub(super) struct Paths {
    between: BTreeMap<Ends, Between>,
}

#[derive(Debug, Default)]
struct Between {
    /// How many there are.
    count: usize,
    /// The legs that are first paths, and which no other has joined.
    alone: BTreeSet<usize>,
    /// When a path joined last.
    joined: Option<Timestamp>,
}

impl Paths {
    /// A first path was opened. True if another may have joined it since.
    pub(super) fn begin(&mut self, ends: Ends, leg: usize, opened: Timestamp) -> bool {
        let between = self.between.entry(ends).or_default();
        between.count += 1;
        let joined = between.joined.is_some_and(|joined| joined >= opened);
        if !joined {
            between.alone.insert(leg);
        }
        joined
    }

    /// A further path joined: the legs of first paths to which it may belong, each told once.
    pub(super) fn join(&mut self, ends: Ends, time: Timestamp) -> BTreeSet<usize> {
        let between = self.between.entry(ends).or_default();
        between.count += 1;
        between.joined = between.joined.max(Some(time));
        std::mem::take(&mut between.alone)
    }

    /// A path is no more.
    pub(super) fn end(&mut self, ends: Ends, leg: usize) {
        let Some(between) = self.between.get_mut(&ends) else {
            return;
        };
        between.alone.remove(&leg);
        between.count = between.count.saturating_sub(1);
        if between.count == 0 {
            self.between.remove(&ends);
        }
    }
}

/// What a socket tells of the path of which it is an end.
pub(super) struct Path {
    pub(super) part: Multipath,
    /// Whose its ends are, as far as the kernel has said.
    pub(super) ends: Option<Ends>,
    pub(super) opened: Timestamp,
}

impl Path {
    /// None if it speaks plain TCP.
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        let peer = match socket.peer {
            Peer::Local { cgroup, .. } | Peer::Listener { cgroup, .. } => Some(cgroup),
            Peer::Unknown | Peer::Remote => None,
        };
        let ends = peer.map(|peer| (peer.min(socket.cgroup), peer.max(socket.cgroup)));
        (socket.multipath != Multipath::No).then_some(Self {
            part: socket.multipath,
            ends,
            opened: socket.opened,
        })
    }
}

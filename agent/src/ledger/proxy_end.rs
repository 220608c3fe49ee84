//! The end of a proxy, which takes the lines in its buffer with it.
//!
//! However a process ends, the kernel closes all of its sockets at once. That its connections
//! close proves little, since their other ends may close them; nobody but the proxy closes its
//! listeners.

use std::{collections::BTreeMap, time::Duration};

use super::{Ledger, input::ListenerEnd};
use crate::{capture::Cookie, timestamp::Timestamp};

/// All sockets of a process close within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Ends of a pod's proxies that are remembered; the kubelet backs off after a few.
const KEPT_ENDS: usize = 64;

/// Listeners of a pod that are remembered.
const KEPT_LISTENERS: usize = 1024;

/// What a pod's proxies listen on.
#[derive(Debug, Default)]
pub(super) struct ProxyListeners {
    /// Sockets on `mesh.listeners`, and whose they are.
    open: BTreeMap<Cookie, u32>,
    /// Who closed a listener last that is older than the programs, and when.
    closed: Option<(u32, Timestamp)>,
}

impl ProxyListeners {
    pub(super) fn opened(&mut self, cookie: Cookie, pid: u32) {
        self.open.insert(cookie, pid);
        if self.open.len() > KEPT_LISTENERS {
            self.open.pop_first();
        }
    }

    /// Whether the process of this listener ended: it was its last one on `mesh.listeners`, or one
    /// of several that closed at once and whose ports are not known.
    pub(super) fn closed(&mut self, end: &ListenerEnd) -> bool {
        if let Some(cookie) = end.cookie {
            let was_open = self.open.remove(&cookie).is_some();
            return was_open && self.open.values().all(|pid| *pid != end.pid);
        }
        let before = self.closed.replace((end.pid, end.time));
        let known = self.open.values().any(|pid| *pid == end.pid);
        let together =
            |(pid, time): (u32, Timestamp)| pid == end.pid && end.time.since(time) <= AT_ONCE;
        !known && before.is_some_and(together)
    }
}

impl Ledger {
    pub(super) fn listener_closed(&mut self, end: &ListenerEnd) {
        self.unnamed_listeners
            .retain(|listener| Some(listener.cookie) != end.cookie);
        if let Some(uid) = self.roles.unlisten(end)
            && let Some(pod) = self.pods.get_mut(uid)
        {
            pod.proxy_ends.push_back(end.time);
            if pod.proxy_ends.len() > KEPT_ENDS {
                pod.proxy_ends.pop_front();
            }
        }
    }

    /// Whether a pod's proxy ended before it had to write the line of something that lasted from
    /// `began` to `ended`.
    pub(super) fn proxy_ended_over(&self, uid: &str, began: Timestamp, ended: Timestamp) -> bool {
        let buffered = began..=ended + self.settings.flush;
        let ends = self.pods.get(uid).map(|pod| &pod.proxy_ends);
        ends.is_some_and(|ends| ends.iter().any(|end| buffered.contains(end)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{AT_ONCE, KEPT_LISTENERS, ListenerEnd, ProxyListeners};
    use crate::timestamp::Timestamp;

    fn end(cookie: Option<u64>, pid: u32, after: Duration) -> ListenerEnd {
        ListenerEnd {
            cookie,
            time: Timestamp(1_000) + after,
            cgroup: 1,
            pid,
        }
    }

    fn now(cookie: u64, pid: u32) -> ListenerEnd {
        end(Some(cookie), pid, Duration::ZERO)
    }

    #[test]
    fn a_proxy_ends_with_its_last_listener() {
        let mut listeners = ProxyListeners::default();
        for (cookie, pid) in [(1, 10), (2, 10), (3, 20)] {
            listeners.opened(cookie, pid);
        }
        assert!(!listeners.closed(&now(1, 10)));
        assert!(!listeners.closed(&now(1, 10)), "it is closed");
        assert!(listeners.closed(&now(2, 10)));
        assert!(!listeners.closed(&now(9, 20)), "no listener of the mesh");
        assert!(listeners.closed(&now(3, 20)));
    }

    #[test]
    fn listeners_older_than_the_programs_close_at_once_when_their_process_ends() {
        let closed = |before: ListenerEnd, after: ListenerEnd| {
            let mut listeners = ProxyListeners::default();
            listeners.opened(1, 30);
            assert!(!listeners.closed(&before));
            listeners.closed(&after)
        };
        let at = |pid, after| end(None, pid, after);
        let moment = Duration::from_nanos(1);
        assert!(closed(at(10, Duration::ZERO), at(10, AT_ONCE)));
        assert!(!closed(at(10, Duration::ZERO), at(10, AT_ONCE + moment)));
        assert!(!closed(at(20, Duration::ZERO), at(10, AT_ONCE)));
        // Of this one younger ones are known, which would have closed as well.
        assert!(!closed(at(30, Duration::ZERO), at(30, AT_ONCE)));
    }

    #[test]
    fn listeners_are_bounded() {
        let mut listeners = ProxyListeners::default();
        for cookie in 0..KEPT_LISTENERS as u64 {
            listeners.opened(cookie, u32::try_from(cookie).unwrap());
        }
        assert!(listeners.closed(&now(0, 0)));
        listeners.opened(0, 0);
        listeners.opened(KEPT_LISTENERS as u64, u32::MAX);
        assert!(!listeners.closed(&now(0, 0)), "forgotten");
        assert!(listeners.closed(&now(1, 1)));
    }
}

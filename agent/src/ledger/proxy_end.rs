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

//! Who binds, and what listens.

use agent_common::{account::Refusal, endpoint::Endpoint, socket::Facts};
use aya_ebpf::{helpers::generated::bpf_get_current_cgroup_id, programs::SockContext};

use crate::{
    account::Charged,
    connect::TCP,
    process, report,
    storage::{Socket, find_or_create, is_excluded},
};

/// A socket was bound: the process is kept, for the listener that it may become and for the
/// sockets that will be accepted from it.
#[inline(always)]
pub(crate) fn bound(context: &SockContext) {
    let sk = context.sock;
    // SAFETY: a field of the context.
    if unsafe { (*sk).protocol } != TCP {
        return;
    }
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let Some(socket) = find_or_create(sk) else {
        Charged::of(cgroup).refuse(Refusal::NoStorage);
        return;
    };
    socket.facts.process = process::current();
    socket.origin = cgroup;
    if is_excluded(cgroup) {
        socket.set(Facts::EXCLUDED);
    }
}

/// A socket listens.
#[inline(always)]
pub(crate) fn listening(socket: &mut Socket, cookie: u64, local: Endpoint) {
    socket.begin(cookie, 0);
    // It has no connection: what is accepted from it has.
    socket.facts.opened = 0;
    socket.facts.local = local;
    if !socket.is(Facts::EXCLUDED) {
        report::listener(socket, false);
    }
}

//! The end of sockets whose close is not told.

use agent_common::socket::{Facts, SocketRecord};
use aya_ebpf::{
    bindings::{BPF_TCP_LISTEN, bpf_sock},
    helpers::generated::bpf_get_current_cgroup_id,
    programs::SockContext,
};

use crate::{
    connect::TCP,
    context::field,
    datagram_socket::{self, is_datagram_socket},
    process, report,
    storage::{find, is_excluded},
};

/// The last holder closes a socket. Its FIN is still to come.
///
/// The end of a socket with state callbacks is its CLOSE. This is for those that are older than
/// the programs, for those whose `connect` failed before a packet was sent, and for listeners,
/// whose end tells of their process's end.
#[inline(always)]
pub(crate) fn released(context: &SockContext) {
    if is_datagram_socket(context.sock) {
        datagram_socket::released(context);
        return;
    }
    let Some(socket) = find(context.sock) else {
        released_unknown(context);
        return;
    };
    if socket.is(Facts::CALLBACKS | Facts::EXCLUDED) {
        return;
    }
    if socket.facts.opened != 0 {
        report::socket(socket, SocketRecord::RELEASED);
    } else if socket.facts.cookie != 0 {
        // It was given a cookie and no connection when it began to listen.
        report::listener(socket, true);
    }
}

/// Of a socket that is older than the programs and has not sent since, only a listener matters.
#[inline(always)]
fn released_unknown(context: &SockContext) {
    let sk = context.sock;
    let (protocol, state) = (field!(sk, bpf_sock, protocol), field!(sk, bpf_sock, state));
    if protocol != TCP || state != BPF_TCP_LISTEN {
        return;
    }
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if !is_excluded(cgroup) {
        report::old_listener(cgroup, process::current());
    }
}

//! The creation of sockets that no handshake announces.

use agent_common::flow::RawSocketRecord;
use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie},
    programs::SockContext,
};

use crate::{
    context::field,
    datagram_socket::{self, is_datagram_socket},
    process, report,
    storage::is_excluded,
};

/// `SOCK_RAW`.
const RAW: u32 = 3;

/// A process makes a socket of one of the internet families.
#[inline(always)]
pub(crate) fn created(context: &SockContext) {
    if is_datagram_socket(context.sock) {
        datagram_socket::created(context);
    } else if field!(context.sock, bpf_sock, type_) == RAW {
        created_raw(context);
    }
}

/// A raw socket: whoever has one writes its packets by itself, past all that follows sockets.
#[inline(always)]
fn created_raw(context: &SockContext) {
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if is_excluded(cgroup) {
        return;
    }
    // SAFETY: the context is the one of this run.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    report::raw_socket(cgroup, |header| RawSocketRecord {
        header,
        cookie,
        cgroup,
        process: process::current(),
        family: field!(context.sock, bpf_sock, family),
        protocol: field!(context.sock, bpf_sock, protocol),
    });
}

//! Turns in the life of TCP sockets.

use core::mem::offset_of;

use agent_common::{
    endpoint::Endpoint,
    socket::{Facts, SocketRecord},
};
use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING,
        BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, bpf_sock_ops,
    },
    helpers::generated::bpf_get_socket_cookie,
    programs::SockOpsContext,
};

use crate::{
    context::{address, field, long, word},
    listen, multipath, report,
    storage::{Received, Socket, find, find_or_create},
};

/// `AF_INET`.
pub(crate) const IPV4: u32 = 2;

/// Whatever happens to a socket.
#[inline(always)]
pub(crate) fn turn(context: &SockOpsContext) {
    // SAFETY: a field of the context.
    let sk = unsafe { (*context.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    match context.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB => {
            if let Some(socket) = find_or_create(sk) {
                listen::listening(socket, cookie(context), local(context));
            }
        }
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if let Some(socket) = find(sk) {
                watch(context, socket);
            }
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if let Some(socket) = find(sk) {
                connected(context, socket);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            if let Some(socket) = find_or_create(sk) {
                accepted(context, socket);
            }
        }
        BPF_SOCK_OPS_STATE_CB => {
            if let Some(socket) = find(sk) {
                moved(context, socket);
            }
        }
        _ => {}
    }
}

/// A handshake was completed from this end.
#[inline(always)]
fn connected(context: &SockOpsContext, socket: &mut Socket) {
    socket.set(Facts::ESTABLISHED);
    socket.received = Received::from(field!(context.ops, bpf_sock_ops, rcv_nxt));
    watch(context, socket);
    multipath::established(context, socket);
    // From now on a part of what the first path carried may come here: told before any does.
    if socket.is(Facts::JOINS) && !socket.is(Facts::EXCLUDED) {
        report::socket(socket, SocketRecord::SETTLED);
    }
}

/// A handshake was completed from the far end. What the state holds is the listener's.
#[inline(always)]
fn accepted(context: &SockOpsContext, socket: &mut Socket) {
    socket.begin(
        cookie(context),
        Facts::OPENED_BY_PEER | Facts::ESTABLISHED | Facts::SEQUENCE,
    );
    // Nothing was sent yet but the SYN.
    socket.next_sequence = field!(context.ops, bpf_sock_ops, snd_nxt);
    socket.received = Received::from(field!(context.ops, bpf_sock_ops, rcv_nxt));
    watch(context, socket);
    multipath::established(context, socket);
}

/// Takes the addresses, which are gone at the close, and has the close told.
#[inline(always)]
fn watch(context: &SockOpsContext, socket: &mut Socket) {
    socket.facts.local = local(context);
    socket.facts.remote = remote(context);
    let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    if context.set_cb_flags(flags as i32).is_ok() {
        socket.set(Facts::CALLBACKS);
    }
}

/// The socket goes from one state to another.
#[inline(always)]
fn moved(context: &SockOpsContext, socket: &mut Socket) {
    // The arguments are a union: the state before, the state now.
    const ARGUMENTS: usize = offset_of!(bpf_sock_ops, __bindgen_anon_1);
    let from = word::<ARGUMENTS, _>(context.ops);
    let to = word::<{ ARGUMENTS + 4 }, _>(context.ops);
    let received = long::<{ offset_of!(bpf_sock_ops, bytes_received) }, _>(context.ops);
    match to {
        BPF_TCP_FIN_WAIT2 => socket.received_at_fin_wait = received,
        BPF_TCP_CLOSE_WAIT | BPF_TCP_CLOSING => socket.set(Facts::FIN_RECEIVED),
        BPF_TCP_CLOSE => {
            match from {
                BPF_TCP_CLOSE_WAIT | BPF_TCP_CLOSING | BPF_TCP_LAST_ACK => {
                    socket.set(Facts::FIN_RECEIVED);
                }
                // It goes on as TIME-WAIT, or as an orphan's FIN-WAIT-2. In the first case what
                // was received since grew, if by nothing else, by the FIN.
                BPF_TCP_FIN_WAIT2 if received > socket.received_at_fin_wait => {
                    socket.set(Facts::FIN_RECEIVED);
                }
                _ => {}
            }
            let fin = u64::from(socket.is(Facts::FIN_RECEIVED));
            socket.facts.bytes_received = received.saturating_sub(fin);
            socket.facts.retransmits = field!(context.ops, bpf_sock_ops, total_retrans);
            if !socket.is(Facts::EXCLUDED) {
                report::socket(socket, SocketRecord::CLOSED);
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn cookie(context: &SockOpsContext) -> u64 {
    // SAFETY: the context is the one of this run.
    unsafe { bpf_get_socket_cookie(context.as_ptr()) }
}

/// The port of this end is in host order.
#[inline(always)]
fn local(context: &SockOpsContext) -> Endpoint {
    let ops = context.ops;
    let port = field!(ops, bpf_sock_ops, local_port) as u16;
    if field!(ops, bpf_sock_ops, family) == IPV4 {
        return Endpoint::v4(field!(ops, bpf_sock_ops, local_ip4), port);
    }
    Endpoint::v6(address!(ops, bpf_sock_ops, local_ip6), port)
}

/// The port of the far end is in network order, in the upper half.
#[inline(always)]
fn remote(context: &SockOpsContext) -> Endpoint {
    let ops = context.ops;
    let port = u16::from_be((field!(ops, bpf_sock_ops, remote_port) >> 16) as u16);
    if field!(ops, bpf_sock_ops, family) == IPV4 {
        return Endpoint::v4(field!(ops, bpf_sock_ops, remote_ip4), port);
    }
    Endpoint::v6(address!(ops, bpf_sock_ops, remote_ip6), port)
}

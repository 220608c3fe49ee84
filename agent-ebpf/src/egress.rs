//! Each packet that a socket sends: in order, under the socket's lock, after NAT.

use agent_common::{
    account::Refusal,
    socket::{Facts, SocketRecord},
};
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_TCP_CLOSE, BPF_TCP_LISTEN, bpf_sock},
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};

use crate::{
    account::Charged,
    connect::TCP,
    context::field,
    datagram_socket::UDP,
    packet::Packet,
    peer, report,
    storage::{Socket, find_or_create, is_excluded},
    stream,
};

/// A packet goes out.
#[inline(always)]
pub(crate) fn sent(context: &SkBuffContext) {
    let Some(sk) = whole_socket(context) else {
        return;
    };
    let protocol = field!(sk, bpf_sock, protocol);
    if protocol == UDP {
        stream::go_to_datagram(context);
        return;
    }
    let state = field!(sk, bpf_sock, state);
    // The answer to a SYN is sent with the listener's socket, and behind CLOSE comes only a RST.
    if protocol != TCP || state == BPF_TCP_LISTEN || state == BPF_TCP_CLOSE {
        return;
    }
    let Some(socket) = find_or_create(sk) else {
        // SAFETY: the context is the one of this run.
        let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
        Charged::of(cgroup).refuse(Refusal::NoStorage);
        return;
    };
    if socket.is(Facts::EXCLUDED) {
        return;
    }
    let Some(packet) = Packet::parse(context) else {
        return;
    };
    if !socket.is(Facts::SENT) {
        meet(context, sk, &packet, socket);
        if socket.is(Facts::EXCLUDED) {
            return;
        }
    }
    if !peer::is_settled(socket) {
        peer::ask(context, sk, state, socket);
    }
    // Where it is refused the next packet tries again: else nothing would ever tell of a connection
    // that goes on.
    if peer::is_settled(socket)
        && !socket.is(Facts::TOLD)
        && report::socket(socket, SocketRecord::SETTLED)
    {
        socket.set(Facts::TOLD);
    }
    socket.account = Charged(socket.account).still(socket.facts.cgroup).0;
    if stream::advance(&packet, socket) {
        stream::next_block(context, socket, packet.end);
    }
}

/// The packet's socket, unless it is the remains of one or not yet whole.
#[inline(always)]
pub(crate) fn whole_socket(context: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: a field of the context.
    let sk = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: checked above.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    (!sk.is_null()).then_some(sk)
}

/// The first packet of a socket.
#[inline(always)]
fn meet(context: &SkBuffContext, sk: *mut bpf_sock, packet: &Packet, socket: &mut Socket) {
    // SAFETY: the context is the one of this run.
    let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
    if socket.facts.opened == 0 {
        // SAFETY: as above.
        let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
        socket.begin(cookie, Facts::PREEXISTING | Facts::ESTABLISHED);
        (socket.facts.local, socket.facts.remote) = peer::own_view(sk);
        stream::join(&mut socket.stream);
    }
    socket.set(Facts::SENT);
    socket.facts.cgroup = cgroup;
    socket.facts.source = packet.source;
    socket.facts.destination = packet.destination;
    if is_excluded(cgroup) {
        socket.set(Facts::EXCLUDED);
    }
    if !socket.is(Facts::SEQUENCE) {
        socket.set(Facts::SEQUENCE);
        socket.next_sequence = packet.sequence;
    }
}

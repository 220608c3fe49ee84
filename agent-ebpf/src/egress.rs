//! Each packet that a socket sends: in order, under the socket's lock, after NAT.

use agent_common::{
    account::Refusal,
    socket::{Facts, SocketRecord},
};
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_TCP_LISTEN, BPF_TCP_NEW_SYN_RECV, bpf_sock},
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};

use crate::{
    account::Charged,
    connect::TCP,
    context::field,
    packet::Packet,
    peer, report,
    storage::{Socket, find_or_create, is_excluded},
};

/// A packet goes out.
#[inline(always)]
pub(crate) fn sent(context: &SkBuffContext) {
    let skb = context.skb.skb;
    // SAFETY: a field of the context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: checked above.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return;
    }
    let protocol = field!(sk, bpf_sock, protocol);
    let state = field!(sk, bpf_sock, state);
    // The answer to a SYN is sent with the listener's socket.
    if protocol != TCP || state == BPF_TCP_LISTEN || state == BPF_TCP_NEW_SYN_RECV {
        return;
    }
    let Some(socket) = find_or_create(sk) else {
        // SAFETY: the context is the one of this run.
        if let Some(charged) = Charged::of(unsafe { bpf_skb_cgroup_id(skb) }) {
            charged.refuse(Refusal::NoStorage);
        }
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
    count(&packet, socket);
    if !peer::is_settled(socket) && peer::ask(context, sk, state, &packet, socket) {
        report::socket(socket, SocketRecord::SETTLED);
    }
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

/// Counts the bytes that were not sent before.
#[inline(always)]
fn count(packet: &Packet, socket: &mut Socket) {
    let end = packet.sequence.wrapping_add(packet.length());
    let new = end.wrapping_sub(socket.next_sequence);
    if (new as i32) < 0 {
        return;
    }
    socket.facts.bytes_sent += u64::from(new);
    socket.next_sequence = end;
    if packet.has(Packet::FIN) {
        socket.set(Facts::FIN_SENT);
        // It takes a number of its own.
        socket.next_sequence = end.wrapping_add(1);
    }
}

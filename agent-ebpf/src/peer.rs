//! Who receives what a socket sends.
//!
//! The kernel's own lookup is asked with the addresses of the header, which are those after NAT.
//!
//! ```text
//!             ┌────────── a socket of that tuple ──────────▶ Local
//! Unknown ────┤ a listener ▶ Listener ── the same, later ──▶ Local
//!             └─ nobody, twice once established; ──────────▶ Remote
//!                only a listener, although sent bytes were acknowledged
//! ```
//!
//! The lookup does not check that the destination is an address of this place, so that a listener
//! on all addresses also answers for a remote destination with its port: it settles nothing. A
//! socket of exactly this tuple does.

use core::ptr;

use agent_common::{endpoint::Endpoint, socket::Facts};
use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_TCP_LISTEN, BPF_TCP_NEW_SYN_RECV, BPF_TCP_SYN_RECV, BPF_TCP_SYN_SENT,
        BPF_TCP_TIME_WAIT, bpf_sock, bpf_sock_tuple, bpf_tcp_sock,
    },
    helpers::generated::{
        bpf_sk_cgroup_id, bpf_sk_lookup_tcp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_sock,
    },
    programs::SkBuffContext,
};

use crate::{
    account,
    context::{address, field},
    life::IPV4,
    storage::{Socket, Stream, find},
};

/// The network namespace of the packet's socket (`BPF_F_CURRENT_NETNS`).
pub(crate) const THIS_NAMESPACE: u64 = u64::MAX;
/// Lookups after which a receiver counts as settled although its cookie is not known: it never
/// sent anything that was watched.
const PATIENCE: u32 = 16;

/// Whether it is settled who receives.
#[inline(always)]
pub(crate) const fn is_settled(socket: &Socket) -> bool {
    socket.facts.peer >= Facts::PEER_REMOTE
}

/// Asks once more.
#[inline(always)]
pub(crate) fn ask(context: &SkBuffContext, sk: *mut bpf_sock, state: u32, socket: &mut Socket) {
    match look_up(context, socket) {
        Answer::Socket {
            cookie,
            cgroup,
            untold_heads,
        } => {
            // What it sent before this socket was whole.
            // SAFETY: the socket's own state, to which the peer adds as well.
            unsafe { account::add(&raw mut socket.stream.heads, untold_heads) };
            socket.facts.peer_cookie = cookie;
            socket.facts.peer_cgroup = cgroup;
            if cookie == 0 {
                socket.anonymous += 1;
                if socket.anonymous < PATIENCE {
                    return;
                }
            }
            socket.facts.peer = Facts::PEER_LOCAL;
            return;
        }
        Answer::Listener { cookie, cgroup } => {
            socket.facts.peer = Facts::PEER_LISTENER;
            socket.facts.peer_cookie = cookie;
            socket.facts.peer_cgroup = cgroup;
            if handshaking(state) || in_between(context, socket) || !is_acknowledged(sk, socket) {
                return;
            }
        }
        Answer::Handshaking => return,
        Answer::Nobody => {
            if handshaking(state) || in_between(context, socket) {
                return;
            }
            if !socket.is(Facts::PEER_ABSENT) {
                socket.set(Facts::PEER_ABSENT);
                return;
            }
        }
    }
    socket.facts.peer = Facts::PEER_REMOTE;
    socket.facts.peer_cookie = 0;
    socket.facts.peer_cgroup = 0;
}

enum Answer {
    Nobody,
    Listener {
        cookie: u64,
        cgroup: u64,
    },
    Handshaking,
    Socket {
        cookie: u64,
        cgroup: u64,
        untold_heads: u64,
    },
}

#[inline(always)]
const fn handshaking(state: u32) -> bool {
    state == BPF_TCP_SYN_SENT || state == BPF_TCP_SYN_RECV
}

#[inline(always)]
fn look_up(context: &SkBuffContext, socket: &Socket) -> Answer {
    let found = with_tuple(socket, |tuple, size| {
        // SAFETY: the context is the one of this run, the tuple lives on the stack.
        unsafe { bpf_sk_lookup_tcp(context.as_ptr(), tuple, size, THIS_NAMESPACE, 0) }
    });
    if found.is_null() {
        return Answer::Nobody;
    }
    let state = field!(found, bpf_sock, state);
    // SAFETY: a socket that this run holds a reference to.
    let cgroup = unsafe { bpf_sk_cgroup_id(found.cast()) };
    let (cookie, untold_heads) = match find(found) {
        Some(peer) => (peer.facts.cookie, peer.stream.untold_heads),
        None => (0, 0),
    };
    // SAFETY: gives the reference back; it is not used afterwards.
    unsafe { bpf_sk_release(found.cast()) };
    match state {
        BPF_TCP_LISTEN => Answer::Listener { cookie, cgroup },
        // Just copied from its listener, cookie and all.
        BPF_TCP_SYN_RECV | BPF_TCP_NEW_SYN_RECV => Answer::Handshaking,
        _ => Answer::Socket {
            cookie,
            cgroup,
            untold_heads,
        },
    }
}

/// Lets the peer know something; false if there is no whole peer yet.
#[inline(always)]
pub(crate) fn tell(
    context: &SkBuffContext,
    socket: &Socket,
    tell: impl FnOnce(&mut Stream),
) -> bool {
    let found = with_tuple(socket, |tuple, size| {
        // SAFETY: the context is the one of this run, the tuple lives on the stack.
        unsafe { bpf_sk_lookup_tcp(context.as_ptr(), tuple, size, THIS_NAMESPACE, 0) }
    });
    if found.is_null() {
        return false;
    }
    let state = field!(found, bpf_sock, state);
    let whole = state != BPF_TCP_LISTEN && !handshaking(state) && state != BPF_TCP_NEW_SYN_RECV;
    let mut told = false;
    if whole && let Some(peer) = find(found) {
        tell(&mut peer.stream);
        told = true;
    }
    // SAFETY: gives the reference back; it is not used afterwards.
    unsafe { bpf_sk_release(found.cast()) };
    told
}

/// Whether there is something of this tuple that is not a whole socket: a handshake in progress,
/// which the other lookup answers with its listener, or the remains of one.
#[inline(always)]
fn in_between(context: &SkBuffContext, socket: &Socket) -> bool {
    let found = with_tuple(socket, |tuple, size| {
        // SAFETY: the context is the one of this run, the tuple lives on the stack.
        unsafe { bpf_skc_lookup_tcp(context.as_ptr(), tuple, size, THIS_NAMESPACE, 0) }
    });
    if found.is_null() {
        return false;
    }
    let state = field!(found, bpf_sock, state);
    // SAFETY: gives the reference back; it is not used afterwards.
    unsafe { bpf_sk_release(found.cast()) };
    state == BPF_TCP_NEW_SYN_RECV || state == BPF_TCP_TIME_WAIT
}

/// Whether the far end acknowledged payload. It then has a whole socket, and had the receiver
/// been here, the lookup would have found that.
#[inline(always)]
fn is_acknowledged(sk: *mut bpf_sock, socket: &Socket) -> bool {
    // SAFETY: the socket is a whole one.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return false;
    }
    let acknowledged = field!(tcp, bpf_tcp_sock, snd_una);
    let ahead = socket.next_sequence.wrapping_sub(acknowledged);
    socket.facts.bytes_sent > u64::from(ahead)
}

#[repr(C)]
struct V4 {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

#[repr(C)]
struct V6 {
    source: [u32; 4],
    destination: [u32; 4],
    source_port: u16,
    destination_port: u16,
}

#[inline(always)]
fn with_tuple(
    socket: &Socket,
    look_up: impl Fn(*mut bpf_sock_tuple, u32) -> *mut bpf_sock,
) -> *mut bpf_sock {
    with_addresses(&socket.facts.source, &socket.facts.destination, look_up)
}

/// Looks up with the addresses of a packet's header.
#[inline(always)]
pub(crate) fn with_addresses(
    source: &Endpoint,
    destination: &Endpoint,
    look_up: impl Fn(*mut bpf_sock_tuple, u32) -> *mut bpf_sock,
) -> *mut bpf_sock {
    let (source_port, destination_port) = (source.port.to_be(), destination.port.to_be());
    if source.is_v4() {
        let mut tuple = V4 {
            source: source.address[3],
            destination: destination.address[3],
            source_port,
            destination_port,
        };
        return look_up(ptr::from_mut(&mut tuple).cast(), size_of::<V4>() as u32);
    }
    let mut tuple = V6 {
        source: source.address,
        destination: destination.address,
        source_port,
        destination_port,
    };
    look_up(ptr::from_mut(&mut tuple).cast(), size_of::<V6>() as u32)
}

/// The addresses of both ends in the socket's own view.
#[inline(always)]
pub(crate) fn own_view(sk: *mut bpf_sock) -> (Endpoint, Endpoint) {
    let local_port = field!(sk, bpf_sock, src_port) as u16;
    // A short field: the upper half of the word is none of it.
    let remote_port = u16::from_be(field!(sk, bpf_sock, dst_port) as u16);
    if field!(sk, bpf_sock, family) == IPV4 {
        return (
            Endpoint::v4(field!(sk, bpf_sock, src_ip4), local_port),
            Endpoint::v4(field!(sk, bpf_sock, dst_ip4), remote_port),
        );
    }
    (
        Endpoint::v6(address!(sk, bpf_sock, src_ip6), local_port),
        Endpoint::v6(address!(sk, bpf_sock, dst_ip6), remote_port),
    )
}

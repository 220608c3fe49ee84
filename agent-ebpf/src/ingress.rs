//! Each packet that a socket receives, before the socket takes it.

use aya_ebpf::{bindings::bpf_sock, programs::SkBuffContext};

use crate::{
    connect::TCP, context::field, datagram, datagram_socket::UDP, egress::whole_socket, hello,
};

/// The loopback device of each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// A packet comes in. What comes from this place was seen where it was sent.
#[inline(always)]
pub(crate) fn received(context: &SkBuffContext) {
    if is_inside(context) {
        return;
    }
    let Some(sk) = whole_socket(context) else {
        return;
    };
    match field!(sk, bpf_sock, protocol) {
        TCP => hello::received(context, sk),
        UDP => datagram::received(context, sk),
        _ => {}
    }
}

/// Whether a packet stays in its network namespace.
#[inline(always)]
pub(crate) fn is_inside(context: &SkBuffContext) -> bool {
    // SAFETY: a field of the context.
    unsafe { (*context.skb.skb).ifindex == LOOPBACK }
}

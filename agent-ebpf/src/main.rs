//! The programs: entry points only, one file per concern beside this one.
//!
//! Every program lets everything pass and alters nothing, whatever happens in it.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(not(target_arch = "bpf"), expect(dead_code, reason = "BPF only"))]
#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes are small, and words of the kernel hold shorter fields"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "finding a place and reading it is one thing"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "the next aya-ebpf takes references only"
)]

mod account;
mod block;
mod connect;
mod context;
mod create;
mod datagram;
mod datagram_socket;
mod egress;
mod flows;
mod frames;
mod hello;
mod identify;
mod ingress;
mod life;
mod listen;
mod multipath;
mod packet;
mod peer;
mod process;
mod release;
mod report;
mod ring;
mod scratch;
mod storage;
mod stream;

use agent_common::segment::SegmentHeader;
use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext},
};

const SMALL: usize = SegmentHeader::CLASS_SMALL;
const LARGE: usize = SegmentHeader::CLASS_LARGE;
const HUGE: usize = SegmentHeader::CLASS_HUGE;

/// What every program returns: go on.
const PASS: i32 = 1;

/// A process makes a socket.
#[cgroup_sock(sock_create)]
fn create(context: SockContext) -> i32 {
    create::created(&context);
    PASS
}

/// A call of `connect` on an IPv4 socket.
#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    connect::connect4(&context);
    PASS
}

/// A call of `connect` on an IPv6 socket.
#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    connect::connect6(&context);
    PASS
}

/// A `bind` of an IPv4 socket that succeeded.
#[cgroup_sock(post_bind4)]
fn post_bind4(context: SockContext) -> i32 {
    listen::bound(&context);
    PASS
}

/// A `bind` of an IPv6 socket that succeeded.
#[cgroup_sock(post_bind6)]
fn post_bind6(context: SockContext) -> i32 {
    listen::bound(&context);
    PASS
}

/// A turn in the life of a TCP socket.
#[sock_ops]
fn life(context: SockOpsContext) -> u32 {
    life::turn(&context);
    1
}

/// The last holder of a socket closes it.
#[cgroup_sock(sock_release)]
fn release(context: SockContext) -> i32 {
    release::released(&context);
    PASS
}

/// Each packet that a watched socket sends.
#[cgroup_skb(egress)]
fn egress(context: SkBuffContext) -> i32 {
    egress::sent(&context);
    PASS
}

/// Each packet that a watched socket receives.
#[cgroup_skb(ingress)]
fn ingress(context: SkBuffContext) -> i32 {
    ingress::received(&context);
    PASS
}

/// A packet of UDP that a watched socket sends.
#[cgroup_skb(egress)]
fn datagram(context: SkBuffContext) -> i32 {
    datagram::sent(&context);
    PASS
}

/// A block of a segment of which little is left.
#[cgroup_skb(egress)]
fn block_small(context: SkBuffContext) -> i32 {
    block::ship::<SMALL, { SMALL / 8 }>(&context);
    PASS
}

/// A block of a segment of which much is left.
#[cgroup_skb(egress)]
fn block_large(context: SkBuffContext) -> i32 {
    block::ship::<LARGE, { LARGE / 8 }>(&context);
    PASS
}

/// A block of a segment of which much was shipped already.
#[cgroup_skb(egress)]
fn block_huge(context: SkBuffContext) -> i32 {
    block::ship::<HUGE, { HUGE / 8 }>(&context);
    PASS
}

/// The rest of a segment for which there is no room in the ring.
#[cgroup_skb(egress)]
fn block_refused(context: SkBuffContext) -> i32 {
    block::follow(&context);
    PASS
}

/// A part of a segment of which it is not known what it is.
#[cgroup_skb(egress)]
fn identify(context: SkBuffContext) -> i32 {
    identify::identify(&context);
    PASS
}

/// A part of the hello with which a direction begins.
#[cgroup_skb(egress)]
fn hello(context: SkBuffContext) -> i32 {
    hello::sent(&context);
    PASS
}

/// A block of HTTP/2 of which little is expected to be shipped.
#[cgroup_skb(egress)]
fn frames_tiny(context: SkBuffContext) -> i32 {
    frames::glance(&context);
    PASS
}

/// A block of HTTP/2 in a segment of which little is left.
#[cgroup_skb(egress)]
fn frames_small(context: SkBuffContext) -> i32 {
    frames::ship::<SMALL, { SMALL / 8 }>(&context);
    PASS
}

/// A block of HTTP/2 in a segment of which much is left, and much is expected to be shipped.
#[cgroup_skb(egress)]
fn frames_large(context: SkBuffContext) -> i32 {
    frames::ship::<LARGE, { LARGE / 8 }>(&context);
    PASS
}

/// A block of HTTP/2 in a segment of which much is left and little may be called.
#[cgroup_skb(egress)]
fn frames_huge(context: SkBuffContext) -> i32 {
    frames::ship::<HUGE, { HUGE / 8 }>(&context);
    PASS
}

/// The rest of a segment of HTTP/2 for which there is no room in the ring.
#[cgroup_skb(egress)]
fn frames_refused(context: SkBuffContext) -> i32 {
    frames::follow(&context);
    PASS
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never compiled in: the verifier refuses a program that can come here.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// Some helpers are for programs under a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

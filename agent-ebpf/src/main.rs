//! The programs: entry points only, one file per concern beside this one.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};

/// Each packet that a watched socket sends.
#[cgroup_skb(egress)]
pub fn egress(_ctx: SkBuffContext) -> i32 {
    1
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

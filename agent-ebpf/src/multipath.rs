//! Multipath TCP (RFC 8684): what the option of the handshake says of a connection.
//!
//! A path is a TCP connection of its own. Whether it is the first, or joined another, stands in the
//! last packet of the handshake that its end received.

use agent_common::socket::Facts;
use aya_ebpf::{helpers::generated::bpf_load_hdr_opt, programs::SockOpsContext};

use crate::storage::Socket;

/// The TCP option, in its first byte.
const OPTION: u8 = 30;
/// What an option can take up.
const LONGEST: usize = 40;
/// Its subtype MP_JOIN (section 8, table 2), in the upper half of the third byte.
const JOIN: u8 = 1;

/// The handshake was completed. Reads the packet that did so.
#[inline(always)]
pub(crate) fn established(context: &SockOpsContext, socket: &mut Socket) {
    let mut option = [0_u8; LONGEST];
    option[0] = OPTION;
    // SAFETY: the context is the one of this run; there is room for the longest option.
    let length =
        unsafe { bpf_load_hdr_opt(context.ops, option.as_mut_ptr().cast(), LONGEST as u32, 0) };
    if length < 0 {
        return;
    }
    socket.set(Facts::MULTIPATH);
    if option[2] >> 4 == JOIN {
        socket.set(Facts::JOINS);
    }
}

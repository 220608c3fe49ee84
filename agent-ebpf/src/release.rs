//! The end of sockets whose close is not told.

use agent_common::socket::{Facts, SocketRecord};
use aya_ebpf::programs::SockContext;

use crate::{report, storage::find};

/// The last holder closes a socket. Its FIN is still to come.
///
/// The end of a socket with state callbacks is its CLOSE. This is for those that are older than
/// the programs, and for those whose `connect` failed before a packet was sent.
#[inline(always)]
pub(crate) fn released(context: &SockContext) {
    let Some(socket) = find(context.sock) else {
        return;
    };
    // Neither listeners nor sockets that never connected have a connection that could end.
    if socket.facts.opened == 0 || socket.is(Facts::CALLBACKS | Facts::EXCLUDED) {
        return;
    }
    report::socket(socket, SocketRecord::RELEASED);
}

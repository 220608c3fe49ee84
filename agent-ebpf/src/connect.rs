//! Calls of `connect`: who asks for which destination.

use agent_common::{account::Refusal, endpoint::Endpoint, socket::Facts};
use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie},
    programs::SockAddrContext,
};

use crate::{
    account::Charged,
    context::{address, field},
    process,
    storage::{find_or_create, is_excluded},
};

/// `IPPROTO_TCP`.
pub(crate) const TCP: u32 = 6;

/// On an IPv4 socket.
#[inline(always)]
pub(crate) fn connect4(context: &SockAddrContext) {
    let call = context.sock_addr;
    let address = field!(call, bpf_sock_addr, user_ip4);
    let port = field!(call, bpf_sock_addr, user_port);
    begin(context, Endpoint::v4(address, host_port(port)));
}

/// On an IPv6 socket, which may ask for a mapped IPv4 address.
#[inline(always)]
pub(crate) fn connect6(context: &SockAddrContext) {
    let call = context.sock_addr;
    let address = address!(call, bpf_sock_addr, user_ip6);
    let port = field!(call, bpf_sock_addr, user_port);
    begin(context, Endpoint::v6(address, host_port(port)));
}

/// The port of the context is in network order, in the lower half.
#[inline(always)]
const fn host_port(port: u32) -> u16 {
    u16::from_be(port as u16)
}

#[inline(always)]
fn begin(context: &SockAddrContext, asked: Endpoint) {
    let call = context.sock_addr;
    if field!(call, bpf_sock_addr, protocol) != TCP {
        return;
    }
    // SAFETY: a field of the context.
    let sk = unsafe { (*call).__bindgen_anon_1.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let Some(socket) = find_or_create(sk) else {
        Charged::of(cgroup).refuse(Refusal::NoStorage);
        return;
    };
    // SAFETY: the context is the one of this run.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    // A socket whose connect failed may connect again: a new connection.
    socket.begin(cookie, Facts::OPENED_HERE);
    socket.facts.process = process::current();
    socket.facts.asked = asked;
    socket.origin = cgroup;
    if is_excluded(cgroup) {
        socket.set(Facts::EXCLUDED);
    }
}

//! What the kernel keeps beside each UDP socket, from its creation on.

use core::ptr;

use agent_common::{account::Refusal, process::Process};
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie, bpf_sk_storage_get},
    macros::btf_map,
    programs::SockContext,
};

use crate::{account::Charged, context::field, process, report, storage::is_excluded};

/// `IPPROTO_UDP`.
pub(crate) const UDP: u32 = 17;

/// `SOCK_DGRAM`.
pub(crate) const DGRAM: u32 = 2;

#[btf_map]
static DATAGRAM_SOCKETS: SkStorage<DatagramSocket> = SkStorage::new();

/// The state of one UDP socket. All that is ever written to it twice is written alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DatagramSocket {
    /// The socket's cookie; 0 until it is known.
    pub(crate) cookie: u64,
    /// Who made it; unknown if it is older than the programs.
    pub(crate) process: Process,
    /// `DatagramSocket::MET` and the like.
    pub(crate) flags: u64,
}

impl DatagramSocket {
    /// A datagram of it was seen.
    pub(crate) const MET: u64 = 1;
    /// Nothing of it is reported: its cgroup is left out.
    pub(crate) const EXCLUDED: u64 = 1 << 1;

    #[inline(always)]
    pub(crate) const fn is(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// A process makes a UDP socket.
#[inline(always)]
pub(crate) fn created(context: &SockContext) {
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let Some(socket) = find_or_create(context.sock) else {
        Charged::of(cgroup).refuse(Refusal::NoStorage);
        return;
    };
    // SAFETY: the context is the one of this run.
    socket.cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    socket.process = process::current();
    if is_excluded(cgroup) {
        socket.flags |= DatagramSocket::EXCLUDED;
    }
}

/// The last holder closes a UDP socket: nothing is sent or received any more.
#[inline(always)]
pub(crate) fn released(context: &SockContext) {
    let Some(socket) = find(context.sock) else {
        return;
    };
    if socket.is(DatagramSocket::MET) && !socket.is(DatagramSocket::EXCLUDED) {
        // SAFETY: takes nothing.
        let cgroup = unsafe { bpf_get_current_cgroup_id() };
        report::flows_closed(cgroup, socket.cookie);
    }
}

/// Whether this is a UDP socket.
#[inline(always)]
pub(crate) fn is_datagram_socket(sk: *mut bpf_sock) -> bool {
    field!(sk, bpf_sock, type_) == DGRAM && field!(sk, bpf_sock, protocol) == UDP
}

/// The state of a socket, if it has one.
#[inline(always)]
pub(crate) fn find(sk: *mut bpf_sock) -> Option<&'static mut DatagramSocket> {
    get(sk, 0)
}

/// The state of a socket; a new one is all zeroes.
#[inline(always)]
pub(crate) fn find_or_create(sk: *mut bpf_sock) -> Option<&'static mut DatagramSocket> {
    get(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn get(sk: *mut bpf_sock, flags: u64) -> Option<&'static mut DatagramSocket> {
    let map = (&raw const DATAGRAM_SOCKETS).cast_mut().cast();
    // SAFETY: the map lives as long as the program; the verifier checks the socket.
    let socket = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags) };
    // SAFETY: null or the socket's state, which lives as long as the socket, that is, longer than
    // this run. One run holds at most one reference to the state of one socket.
    unsafe { socket.cast::<DatagramSocket>().as_mut() }
}

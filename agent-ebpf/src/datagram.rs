//! Each datagram that a UDP socket sends, and each that it receives from elsewhere.
//!
//! It is counted where its flow is. What it takes to begin a flow is done at its first one only.
//! One that leaves by the loopback device stays in this network namespace, where its sender tells
//! of it: the receiver is looked up then, and ingress passes over it.

use agent_common::{account::Refusal, flow::FlowRecord, process::Process, record::Header};
use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_sk_cgroup_id, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skb_cgroup_id, bpf_skb_load_bytes,
    },
    programs::SkBuffContext,
};

use crate::{
    account::Charged,
    block::bounded,
    datagram_socket::{DatagramSocket, find, find_or_create, is_datagram_socket},
    egress::whole_socket,
    flows::{Key, Place, Way},
    ingress::is_inside,
    packet::Datagram,
    peer::{self, THIS_NAMESPACE},
    report,
    storage::{boot_time, is_excluded},
};

/// A socket of the protocol UDP sends.
#[inline(always)]
pub(crate) fn sent(context: &SkBuffContext) {
    if let Some(sk) = whole_socket(context) {
        follow(context, sk, Way::Sent);
    }
}

/// A packet of UDP comes in from elsewhere.
#[inline(always)]
pub(crate) fn received(context: &SkBuffContext, sk: *mut bpf_sock) {
    follow(context, sk, Way::Received);
}

#[inline(always)]
fn follow(context: &SkBuffContext, sk: *mut bpf_sock, way: Way) {
    // A raw socket may have that protocol too.
    if !is_datagram_socket(sk) {
        return;
    }
    let Some(socket) = find_or_create(sk) else {
        refuse(context, Refusal::NoStorage);
        return;
    };
    if socket.is(DatagramSocket::EXCLUDED) {
        return;
    }
    if socket.cookie == 0 {
        // SAFETY: the context is the one of this run.
        socket.cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    }
    let Some(datagram) = Datagram::parse(context) else {
        refuse(context, Refusal::Intricate);
        return;
    };
    let remote = match way {
        Way::Sent => datagram.destination,
        Way::Received => datagram.source,
    };
    let key = Key::new(socket.cookie, remote);
    let place = match key.find() {
        Some(place) => Some(place),
        None => begin(context, sk, socket, &datagram, &key, way),
    };
    if let Some(place) = place {
        place.count(way, datagram.length());
    }
}

#[inline(always)]
fn refuse(context: &SkBuffContext, reason: Refusal) {
    // SAFETY: the context is the one of this run.
    let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
    Charged::of(cgroup).refuse(reason);
}

/// The first datagram of a flow.
#[inline(always)]
fn begin(
    context: &SkBuffContext,
    sk: *mut bpf_sock,
    socket: &mut DatagramSocket,
    datagram: &Datagram,
    key: &Key,
    way: Way,
) -> Option<Place> {
    // SAFETY: the context is the one of this run.
    let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
    if !socket.is(DatagramSocket::MET) {
        socket.flags |= DatagramSocket::MET;
        if is_excluded(cgroup) {
            socket.flags |= DatagramSocket::EXCLUDED;
            return None;
        }
    }
    let charged = Charged::of(cgroup);
    if charged.has_too_many_flows() {
        key.refuse(charged);
        return None;
    }
    let Some(place) = key.claim() else {
        key.refuse(charged);
        return None;
    };
    let inside = way == Way::Sent && is_inside(context);
    let receiver = if inside {
        Receiver::of(context, datagram)
    } else {
        Receiver::default()
    };
    let (_, connected) = peer::own_view(sk);
    let Some(mut room) = report::flow_room(charged) else {
        place.give_back();
        key.refuse(charged);
        return None;
    };
    let mut flags = 0;
    if way == Way::Sent {
        flags |= FlowRecord::SENT;
    }
    if inside {
        flags |= FlowRecord::INSIDE;
    }
    let record = room.as_mut_ptr();
    // SAFETY: within the record. It is written field by field: the stack has no room for another.
    unsafe {
        (*record).header = Header {
            kind: FlowRecord::KIND,
            account: charged.0,
            time: boot_time(),
        };
        (*record).cookie = socket.cookie;
        (*record).cgroup = cgroup;
        (*record).peer_cookie = receiver.cookie;
        (*record).peer_cgroup = receiver.cgroup;
        (*record).place = place.number;
        (*record).flags = flags;
        (*record).process = socket.process;
        (*record).peer_process = receiver.process;
        (*record).source = datagram.source;
        (*record).destination = datagram.destination;
        (*record).connected = connected;
        if connected.port == 0 {
            (*record).connected.known = 0;
        }
        (*record).length = datagram.length();
        (*record).payload = [0; FlowRecord::PAYLOAD / 8];
    }
    let length = datagram.length().min(FlowRecord::PAYLOAD as u32);
    if length > 0 {
        let length = bounded(length, FlowRecord::PAYLOAD as u32);
        // SAFETY: as above; there is room for `length` bytes.
        unsafe {
            bpf_skb_load_bytes(
                context.as_ptr(),
                datagram.payload,
                (&raw mut (*record).payload).cast(),
                length,
            )
        };
    }
    charged.begin_flow();
    report::hand_over(room);
    Some(place)
}

/// The socket in this network namespace that receives a datagram.
#[derive(Default)]
struct Receiver {
    cookie: u64,
    cgroup: u64,
    process: Process,
}

impl Receiver {
    #[inline(always)]
    fn of(context: &SkBuffContext, datagram: &Datagram) -> Self {
        let (source, destination) = (&datagram.source, &datagram.destination);
        let found = peer::with_addresses(source, destination, |tuple, size| {
            // SAFETY: the context is the one of this run, the tuple lives on the stack.
            unsafe { bpf_sk_lookup_udp(context.as_ptr(), tuple, size, THIS_NAMESPACE, 0) }
        });
        let mut receiver = Self::default();
        if found.is_null() {
            return receiver;
        }
        // SAFETY: a socket that this run holds a reference to.
        receiver.cgroup = unsafe { bpf_sk_cgroup_id(found.cast()) };
        if let Some(socket) = find(found) {
            receiver.cookie = socket.cookie;
            receiver.process = socket.process;
        }
        // SAFETY: gives the reference back; it is not used afterwards.
        unsafe { bpf_sk_release(found.cast()) };
        receiver
    }
}

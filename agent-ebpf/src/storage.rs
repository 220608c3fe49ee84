//! What the kernel keeps beside each socket, and frees with it.

use core::ptr;

use agent_common::{frames::Frames, framing::Framing, segment::SegmentHeader, socket::Facts};
use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type},
    btf_maps::HashMap,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_sk_storage_get},
    macros::btf_map,
};

/// Cgroups of which nothing is reported. Filled by the agent.
#[btf_map]
static EXCLUDED: HashMap<u64, u8, 64> = HashMap::new();

#[btf_map]
static STORAGE: ClonedStorage<Socket> = ClonedStorage::new();

/// The state of one socket. Hooks that write it run under the socket's lock, or before anybody
/// else has the socket.
///
/// A socket that listens hands a copy to each socket accepted from it, of which only the process
/// and `origin` hold: see [`Socket::begin`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// What is shipped of it.
    pub(crate) facts: Facts,
    /// The cgroup of the process that connected or bound it.
    pub(crate) origin: u64,
    /// `bytes_received` of the kernel when it entered FIN-WAIT-2.
    pub(crate) received_at_fin_wait: u64,
    /// The sequence number of the byte to be sent next.
    pub(crate) next_sequence: u32,
    /// Lookups that found a receiver without a cookie.
    pub(crate) anonymous: u32,
    /// The number of its cgroup's account, from its first packet on.
    pub(crate) account: u32,
    /// The piece of scratch memory that was claimed last.
    pub(crate) piece: u32,
    /// What is looked at of what a remote end sends. Written without the socket's lock.
    pub(crate) received: Received,
    /// What it sends.
    pub(crate) stream: Stream,
}

// It is charged to the application's own socket memory.
const _: () = assert!(size_of::<Socket>() <= 512);

impl Socket {
    /// Begins a connection: all is forgotten but who bound or connected, and the exclusion.
    #[inline(always)]
    pub(crate) fn begin(&mut self, cookie: u64, flags: u32) {
        let excluded = self.facts.flags & Facts::EXCLUDED;
        self.facts = Facts {
            cookie,
            opened: boot_time(),
            process: self.facts.process,
            flags: flags | excluded,
            ..Facts::default()
        };
        self.received_at_fin_wait = 0;
        self.next_sequence = 0;
        self.anonymous = 0;
        self.received = Received::default();
        self.stream = Stream::default();
    }

    #[inline(always)]
    pub(crate) const fn is(&self, flag: u32) -> bool {
        self.facts.flags & flag != 0
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, flag: u32) {
        self.facts.flags |= flag;
    }

    /// The cgroup whose ration its records come from: its own, or before its first packet that of
    /// its process.
    #[inline(always)]
    pub(crate) const fn charged_cgroup(&self) -> u64 {
        if self.facts.cgroup == 0 {
            self.origin
        } else {
            self.facts.cgroup
        }
    }
}

/// The beginning of what a remote end sends.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Received {
    /// The sequence number of its first byte.
    pub(crate) first: u32,
    /// How many of its bytes are looked at; 0: no more of it.
    pub(crate) end: u32,
    /// Packets that were looked at.
    pub(crate) pieces: u32,
    /// Zero.
    reserved: u32,
}

impl Received {
    /// Nothing was received yet; the byte with number `first` comes next.
    #[inline(always)]
    pub(crate) const fn from(first: u32) -> Self {
        Self {
            first,
            end: SegmentHeader::HELLO_BYTES as u32,
            pieces: 0,
            reserved: 0,
        }
    }
}

/// The position in what a socket sends.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Stream {
    /// Where messages begin and end, if it is HTTP/1.
    pub(crate) framing: Framing,
    /// Where frames begin and end, if it is HTTP/2.
    pub(crate) frames: Frames,
    /// Which of the requests that this socket answers were HEAD: bit n & 63 for the n-th. Its
    /// peer sets them, with atomic additions.
    pub(crate) heads: u64,
    /// HEAD requests that this socket sent before it had a peer to tell. The peer fetches them.
    pub(crate) untold_heads: u64,
    /// `Stream::UNKNOWN` and the like.
    pub(crate) protocol: u32,
    /// Not 0: what this socket sends is another protocol from here on. Its peer sets it.
    pub(crate) handed_over: u32,
    /// Where in the packet the next block begins.
    pub(crate) cursor: u32,
    /// Flags of a segment's header that the next record will have.
    pub(crate) flags: u32,
    /// The length of the block that is looked at.
    pub(crate) length: u32,
    /// The blocks of this packet so far.
    pub(crate) blocks: u32,
    /// Where the hello ends, if it is TLS.
    pub(crate) hello_end: u32,
    /// Zero.
    reserved: u32,
    /// A block that is looked at before it is known whether it is shipped.
    pub(crate) glance: [u64; GLANCE],
}

/// The words of a block that is looked at first.
pub(crate) const GLANCE: usize = SegmentHeader::CLASS_TINY / 8;

impl Stream {
    /// The next bytes are to be looked at for what they are.
    pub(crate) const UNKNOWN: u32 = 0;
    /// `framing` follows it, be it HTTP/1 or nothing that is known.
    pub(crate) const HTTP1: u32 = 1;
    /// `frames` follows it.
    pub(crate) const HTTP2: u32 = 2;
    /// It is TLS, whose hello is not whole yet.
    pub(crate) const TLS: u32 = 3;

    /// What follows is not looked at.
    #[inline(always)]
    pub(crate) const fn end_hello(&mut self) {
        self.protocol = Self::HTTP1;
        self.framing.hand_over();
    }

    /// Nothing of it was judged yet, or it is in its hello.
    #[inline(always)]
    pub(crate) const fn is_beginning(&self) -> bool {
        self.protocol == Self::TLS || self.protocol == Self::UNKNOWN && !self.framing.joining()
    }

    /// Messages begun; of a client's HTTP/2, streams.
    #[inline(always)]
    pub(crate) const fn messages(&self) -> u32 {
        self.framing.messages().wrapping_add(self.frames.streams())
    }
}

/// The state of a socket, if it has one.
#[inline(always)]
pub(crate) fn find<S>(sk: *mut S) -> Option<&'static mut Socket> {
    get(sk, 0)
}

/// The state of a socket; a new one is all zeroes.
#[inline(always)]
pub(crate) fn find_or_create<S>(sk: *mut S) -> Option<&'static mut Socket> {
    get(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn get<S>(sk: *mut S, flags: u64) -> Option<&'static mut Socket> {
    let map = (&raw const STORAGE).cast_mut().cast();
    // SAFETY: the map lives as long as the program; the verifier checks the socket.
    let socket = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags) };
    // SAFETY: null or the socket's state, which lives as long as the socket, that is, longer than
    // this run. One run holds at most one reference to the state of one socket.
    unsafe { socket.cast::<Socket>().as_mut() }
}

/// Whether nothing of this cgroup is to be reported.
#[inline(always)]
pub(crate) fn is_excluded(cgroup: u64) -> bool {
    EXCLUDED.get_ptr(&cgroup).is_some()
}

/// Nanoseconds since boot, suspended time included.
#[inline(always)]
pub(crate) fn boot_time() -> u64 {
    // SAFETY: takes nothing and touches nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Socket storage that is copied to accepted sockets.
#[repr(C)]
struct ClonedStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_CLONE | BPF_F_NO_PREALLOC) as usize],
}

impl<T> ClonedStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

// SAFETY: only types of the fields matter, to the loader; nothing ever reads them.
unsafe impl<T> Sync for ClonedStorage<T> {}

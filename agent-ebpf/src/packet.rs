//! The headers of a packet.

use agent_common::endpoint::Endpoint;
use aya_ebpf::programs::SkBuffContext;

use crate::{connect::TCP, datagram_socket::UDP};

/// What the headers of a TCP segment say.
pub(crate) struct Packet {
    /// The source, after NAT.
    pub(crate) source: Endpoint,
    /// The destination, after NAT.
    pub(crate) destination: Endpoint,
    /// The sequence number of the first byte of payload.
    pub(crate) sequence: u32,
    /// The TCP flags.
    pub(crate) flags: u8,
    /// Where the payload begins in the packet.
    pub(crate) payload: u32,
    /// Where it ends: the packet's length. (The length in an IP header is 0 for big ones.)
    pub(crate) end: u32,
}

impl Packet {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 1 << 1;

    /// How many bytes of payload there are.
    #[inline(always)]
    pub(crate) const fn length(&self) -> u32 {
        self.end.saturating_sub(self.payload)
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Reads the headers; `None` if this is not TCP over IP.
    #[inline(always)]
    pub(crate) fn parse(context: &SkBuffContext) -> Option<Self> {
        let headers = Headers::of(context);
        let end = context.len();
        let first = headers.at::<Ipv4>(0)?;
        match first.before[0] >> 4 {
            4 => headers.v4(first, end),
            6 => headers.v6(end),
            _ => None,
        }
    }
}

/// What the headers of a UDP datagram say.
pub(crate) struct Datagram {
    /// The source, after NAT.
    pub(crate) source: Endpoint,
    /// The destination, after NAT.
    pub(crate) destination: Endpoint,
    /// Where the payload begins in the packet.
    pub(crate) payload: u32,
    /// Where it ends: the packet's length. (One packet may hold many datagrams that the device
    /// cuts: UDP_SEGMENT.)
    pub(crate) end: u32,
}

impl Datagram {
    /// How many bytes of payload there are.
    #[inline(always)]
    pub(crate) const fn length(&self) -> u32 {
        self.end.saturating_sub(self.payload)
    }

    /// Reads the headers; `None` if this is not UDP over IP.
    #[inline(always)]
    pub(crate) fn parse(context: &SkBuffContext) -> Option<Self> {
        let headers = Headers::of(context);
        let end = context.len();
        let first = headers.at::<Ipv4>(0)?;
        match first.before[0] >> 4 {
            4 => {
                let at = usize::from(first.before[0] & 0xf) * 4;
                let (source, destination) = headers.ports(at)?;
                Some(Self {
                    source: Endpoint::v4(first.source, source),
                    destination: Endpoint::v4(first.destination, destination),
                    payload: at as u32 + UDP_HEADER,
                    end,
                })
            }
            6 => {
                let ip = headers.at::<Ipv6>(0)?;
                let at = headers.behind_extensions(ip)?;
                let (source, destination) = headers.ports(at)?;
                Some(Self {
                    source: Endpoint::v6(ip.source, source),
                    destination: Endpoint::v6(ip.destination, destination),
                    payload: at as u32 + UDP_HEADER,
                    end,
                })
            }
            _ => None,
        }
    }
}

/// The length of a UDP header.
const UDP_HEADER: u32 = 8;

/// Hop-by-hop options, routing and destination options, which have one form (RFC 8200 section 4).
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | 60)
}

/// The part of a packet that can be read directly, from the IP header on. The headers always are
/// in it.
#[derive(Clone, Copy)]
struct Headers {
    data: usize,
    data_end: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4 {
    before: [u8; 9],
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv6 {
    before: [u8; 6],
    next: u8,
    hops: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Tcp {
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledged: u32,
    offset: u8,
    flags: u8,
}

impl Headers {
    #[inline(always)]
    fn of(context: &SkBuffContext) -> Self {
        let skb = context.skb.skb;
        // SAFETY: fields of the context.
        let (data, data_end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
        Self { data, data_end }
    }

    /// The source and the destination of a UDP header.
    #[inline(always)]
    fn ports(self, at: usize) -> Option<(u16, u16)> {
        let [source, destination] = *self.at::<[u16; 2]>(at)?;
        Some((u16::from_be(source), u16::from_be(destination)))
    }

    /// Where UDP begins behind an IPv6 header and at most one extension.
    #[inline(always)]
    fn behind_extensions(self, ip: &Ipv6) -> Option<usize> {
        let (mut next, mut at) = (ip.next, size_of::<Ipv6>());
        if is_extension(next) {
            let [following, length] = *self.at::<[u8; 2]>(at)?;
            next = following;
            at += (usize::from(length) + 1) * 8;
        }
        (u32::from(next) == UDP).then_some(at)
    }

    #[inline(always)]
    fn at<T: Copy>(self, offset: usize) -> Option<&'static T> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.data_end {
            return None;
        }
        // SAFETY: it lies within the packet, and BPF has no alignment to keep here.
        unsafe { (start as *const T).as_ref() }
    }

    #[inline(always)]
    fn v4(self, ip: &Ipv4, end: u32) -> Option<Packet> {
        if u32::from(ip.protocol) != TCP {
            return None;
        }
        let length = usize::from(ip.before[0] & 0xf) * 4;
        self.tcp(length, end, |tcp| {
            (
                Endpoint::v4(ip.source, u16::from_be(tcp.source)),
                Endpoint::v4(ip.destination, u16::from_be(tcp.destination)),
            )
        })
    }

    #[inline(always)]
    fn v6(self, end: u32) -> Option<Packet> {
        let ip = self.at::<Ipv6>(0)?;
        let mut next = ip.next;
        let mut length = size_of::<Ipv6>();
        if next == 0 {
            // Hop-by-hop options: the jumbo length of a packet over 64 KiB.
            let options = self.at::<[u8; 8]>(length)?;
            if options[1] != 0 {
                return None;
            }
            next = options[0];
            length += 8;
        }
        if u32::from(next) != TCP {
            return None;
        }
        self.tcp(length, end, |tcp| {
            (
                Endpoint::v6(ip.source, u16::from_be(tcp.source)),
                Endpoint::v6(ip.destination, u16::from_be(tcp.destination)),
            )
        })
    }

    #[inline(always)]
    fn tcp(
        self,
        at: usize,
        end: u32,
        endpoints: impl FnOnce(&Tcp) -> (Endpoint, Endpoint),
    ) -> Option<Packet> {
        let tcp = self.at::<Tcp>(at)?;
        let (source, destination) = endpoints(tcp);
        let sequence = u32::from_be(tcp.sequence);
        Some(Packet {
            source,
            destination,
            // A SYN takes one number; what it carries (TCP Fast Open) comes behind it.
            sequence: sequence.wrapping_add(u32::from(tcp.flags & Packet::SYN != 0)),
            flags: tcp.flags,
            payload: at as u32 + u32::from(tcp.offset >> 4) * 4,
            end,
        })
    }
}

//! An address and a port.

/// An address and a port. IPv4 stands in its IPv6-mapped form, so that a socket of either family
/// shows the same address alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The IPv6 address, each word in network order.
    pub address: [u32; 4],
    /// The port, in host order.
    pub port: u16,
    /// 1 if this was ever filled in.
    pub known: u16,
}

const _: () = assert!(size_of::<Endpoint>() == 20 && align_of::<Endpoint>() == 4);

impl Endpoint {
    /// An IPv4 address (in network order) and a port (in host order).
    #[inline(always)]
    #[must_use]
    pub const fn v4(address: u32, port: u16) -> Self {
        Self::v6([0, 0, MAPPED, address], port)
    }

    /// An IPv6 address (words in network order) and a port (in host order).
    #[inline(always)]
    #[must_use]
    pub const fn v6(address: [u32; 4], port: u16) -> Self {
        Self {
            address,
            port,
            known: 1,
        }
    }
}

impl Endpoint {
    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.address[0] | self.address[1] == 0 && self.address[2] == MAPPED
    }
}

/// The third word of an IPv4-mapped address (RFC 4291 section 2.5.5.2).
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

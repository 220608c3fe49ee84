//! QUIC, told by the long header of its first packets.

use std::ops::RangeInclusive;

/// What every version leaves alone in the first byte (RFC 8999 section 5.1).
const LONG_HEADER: u8 = 0x80;
/// What versions 1 and 2 set besides (RFC 9000 section 17.2).
const FIXED: u8 = 0x40;

/// The longest connection id of versions 1 and 2 (RFC 9000 section 17.2).
const LONGEST_ID: u8 = 20;
/// The shortest one that a client may make up for a server, which version negotiation gives back
/// as its source (RFC 9000 sections 7.2 and 17.2.1).
const SHORTEST_FIRST_ID: usize = 8;

const VERSION_NEGOTIATION: u32 = 0;
const VERSION_1: u32 = 1;
/// RFC 9369 section 3.1.
const VERSION_2: u32 = 0x6b33_43cf;
/// Drafts of version 1.
const DRAFTS: RangeInclusive<u32> = 0xff00_0000..=0xff00_00ff;
/// Versions of this shape are reserved, to provoke version negotiation (RFC 9000 section 15).
const RESERVED: u32 = 0x0a0a_0a0a;

/// Whether a datagram of so many bytes, which begins with these, begins with a packet of QUIC: a
/// long header of a known version, or one of version negotiation.
pub(super) fn is_quic(beginning: &[u8], length: usize) -> bool {
    let Some((&[first, a, b, c, d], ids)) = beginning.split_first_chunk() else {
        return false;
    };
    let Some((behind_ids, source_length)) = behind(ids).and_then(|(rest, _)| behind(rest)) else {
        return false;
    };
    if first & LONG_HEADER == 0 {
        return false;
    }
    match u32::from_be_bytes([a, b, c, d]) {
        // The rest is a list of versions (RFC 9000 section 17.2.1).
        VERSION_NEGOTIATION => {
            let header = beginning.len() - behind_ids.len();
            let versions = length.saturating_sub(header);
            source_length >= SHORTEST_FIRST_ID && versions > 0 && versions.is_multiple_of(4)
        }
        VERSION_1 | VERSION_2 => first & FIXED != 0,
        version => {
            first & FIXED != 0 && (DRAFTS.contains(&version) || version & 0x0f0f_0f0f == RESERVED)
        }
    }
}

/// What is behind a connection id, and its length; nothing is behind one that is cut off.
fn behind(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (&length, rest) = bytes.split_first()?;
    let is_known = length <= LONGEST_ID;
    let length = usize::from(length);
    is_known.then(|| (rest.get(length..).unwrap_or_default(), length))
}

#[cfg(test)]
mod tests {
    use super::is_quic;

    fn packet(first: u8, version: u32, ids: (usize, usize), rest: usize) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        for length in [ids.0, ids.1] {
            packet.push(u8::try_from(length).unwrap());
            packet.extend(vec![0xab; length]);
        }
        packet.extend(vec![0xcd; rest]);
        packet
    }

    fn told(packet: &[u8]) -> bool {
        is_quic(&packet[..packet.len().min(32)], packet.len())
    }

    #[test]
    fn known_versions_are_told() {
        for version in [1, 0x6b33_43cf, 0xff00_001d, 0x1a2a_3a4a, 0xfafa_fafa] {
            for ids in [(8, 0), (20, 20), (0, 0)] {
                assert!(
                    told(&packet(0xc3, version, ids, 1170)),
                    "{version:x} {ids:?}"
                );
                // A short header, and no fixed bit.
                assert!(!told(&packet(0x43, version, ids, 1170)));
                assert!(!told(&packet(0x83, version, ids, 1170)));
            }
        }
        for version in [2, 0x1a2a_3a4b, 0x5444_5354, 0xff00_0100] {
            assert!(!told(&packet(0xc3, version, (8, 8), 1170)), "{version:x}");
        }
    }

    #[test]
    fn version_negotiation_is_told_by_its_list() {
        for ids in [(8, 8), (0, 20), (17, 8)] {
            assert!(told(&packet(0x80, 0, ids, 8)));
            assert!(told(&packet(0xff, 0, ids, 4)));
            assert!(!told(&packet(0x80, 0, ids, 0)));
            assert!(!told(&packet(0x80, 0, ids, 7)));
            assert!(!told(&packet(0x00, 0, ids, 8)));
        }
        assert!(!told(&packet(0x80, 0, (20, 7), 8)), "a short source");
    }

    #[test]
    fn other_protocols_are_not() {
        let dns = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
        // A client's hello of DTLS 1.2, a binding request of STUN, the first packet of RTP.
        let dtls = b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7c\x01\x00\x00\x70\x00\x00";
        let stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42aaaaaaaaaaaa";
        let rtp = b"\x80\x00\x00\x00\x00\x00\x00\xa0\x12\x34\x56\x78payload";
        for bytes in [
            &dns[..],
            dtls,
            stun,
            rtp,
            b"",
            b"\xc3",
            b"\xc3\0\0\0\x01",
            b"hello, world",
        ] {
            assert!(!told(bytes), "{bytes:x?}");
        }
        assert!(!told(&packet(0xc3, 1, (21, 8), 1170)), "an id too long");
    }
}

//! How a direction of a connection begins: with a hello of TLS, or with something else.
//!
//! [`parse`] reads the first bytes of a direction, [`Beginning`] puts them together from segments.
//! Both stand outside the connection: what they cannot read was not seen, and nothing is said of it.

mod beginning;
mod cursor;
mod message;
mod names;
mod records;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::records::Joined;
pub use self::{
    beginning::{Beginning, Start},
    names::is_host,
};

/// A hello, so far as it tells of a connection's posture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Of the client.
    Client(ClientHello),
    /// Of the server; also one with which it asks for another hello (RFC 8446 section 4.1.4), which
    /// says the same.
    Server(ServerHello),
}

/// What a client asks for (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The name in `server_name` (RFC 6066 section 3), as it was sent. With Encrypted Client Hello
    /// it is the one for everybody to see.
    pub server_name: Option<String>,
    /// The protocols in ALPN (RFC 7301), in the client's order; those that are not visible ASCII
    /// are left out.
    pub protocols: Vec<String>,
}

/// What a server chose (RFC 8446 section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// `1.2` and the like; `3` is that of SSL. None for a version that is not known.
    pub version: Option<Cow<'static, str>>,
    /// The cipher suite under its name with IANA, or as `0x1234`.
    pub cipher: Cow<'static, str>,
    /// The protocol in ALPN. TLS 1.3 encrypts it.
    pub protocol: Option<String>,
}

/// What the first bytes of a direction are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A hello.
    Hello(Hello),
    /// The beginning of one.
    Partial,
    /// Not TLS: the first byte is not that of a handshake.
    Plain,
    /// Something that begins like TLS and is no hello, or one that is longer than any that is
    /// looked at.
    Unreadable,
}

/// The longest beginning that is looked at, record headers included. What the kernel side ships.
pub const MOST_BYTES: usize = agent_common::segment::SegmentHeader::HELLO_BYTES;

/// Reads the first bytes of a direction, cut anywhere.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    match records::join(bytes) {
        Joined::Message(message) => {
            message::read(&message).map_or(Parsed::Unreadable, Parsed::Hello)
        }
        Joined::Partial if bytes.len() >= MOST_BYTES => Parsed::Unreadable,
        Joined::Partial => Parsed::Partial,
        Joined::Plain => Parsed::Plain,
        Joined::Unreadable => Parsed::Unreadable,
    }
}

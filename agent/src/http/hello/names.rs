//! Numbers and bytes of a hello under the names that records have for them.

use std::borrow::Cow;

use rustls::CipherSuite;

/// The longest DNS name (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = 255;

/// Whether it is like a host name, so that it may be shown. The mesh's own have `_` in them.
#[must_use]
pub fn is_host(name: &[u8]) -> bool {
    let is_of_a_host =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= LONGEST_HOST && name.iter().all(is_of_a_host)
}

/// A host name.
pub(super) fn host(name: &[u8]) -> Option<String> {
    is_host(name).then(|| String::from_utf8_lossy(name).into_owned())
}

/// A protocol of ALPN. Those that stand there to be ignored (RFC 8701) are not visible.
pub(super) fn protocol(name: &[u8]) -> Option<String> {
    let shows = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    shows.then(|| String::from_utf8_lossy(name).into_owned())
}

/// The number of a version, without the name of the protocol.
pub(super) const fn version(code: u16) -> Option<&'static str> {
    match code {
        0x0300 => Some("3"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        0x0304 => Some("1.3"),
        _ => None,
    }
}

/// A cipher suite, which IANA calls `TLS_` also where this library has `TLS13_`.
pub(super) fn cipher(code: u16) -> Cow<'static, str> {
    match CipherSuite::from(code).as_str() {
        Some(name) => match name.strip_prefix("TLS13_") {
            Some(rest) => format!("TLS_{rest}").into(),
            None => name.into(),
        },
        None => format!("{code:#06x}").into(),
    }
}

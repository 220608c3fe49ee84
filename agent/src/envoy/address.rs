//! Socket addresses as Envoy writes them.

use std::net::{IpAddr, SocketAddr};

/// Reads `ip:port` or `[ip]:port`; IPv4 inside IPv6 (`::ffff:a.b.c.d`) becomes IPv4.
///
/// Everything else that Envoy may write in such a field (`-`, pipes, abstract sockets, internal
/// listeners) is none. Port 0 stands for an address taken from X-Forwarded-For and is kept.
pub(super) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    // Cheap refusal first: the standard parser tries every form.
    if !matches!(bytes.first(), Some(b'0'..=b'9' | b'[')) {
        return None;
    }
    let address: SocketAddr = str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => SocketAddr::new(mapped.into(), address.port()),
            None => address,
        },
    })
}

/// Whether an address field of Envoy's can read so: a socket address, nothing, or a name of
/// another kind (`/pipe`, `@abstract`, `envoy://listener/endpoint`).
pub(super) fn is_address(bytes: &[u8]) -> bool {
    match bytes {
        b"" | b"-" => true,
        [b'/' | b'@', ..] => true,
        _ => bytes.starts_with(b"envoy://") || parse(bytes).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_address, parse};

    #[test]
    fn reads_both_families() {
        let read = |text: &str| parse(text.as_bytes()).map(|address| address.to_string());
        assert_eq!(read("10.0.0.1:80").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(read("9.9.9.9:0").as_deref(), Some("9.9.9.9:0"));
        assert_eq!(read("[fe80::1]:8080").as_deref(), Some("[fe80::1]:8080"));
        assert_eq!(read("[::ffff:10.0.0.1]:80").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(read("[::6]:41000").as_deref(), Some("[::6]:41000"));
    }

    #[test]
    fn other_forms_are_none() {
        for text in [
            "-",
            "",
            "10.0.0.1",
            "/tmp.sock",
            "@x",
            "10.0.0.1:65536",
            "::1:80",
            "a:1",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert!(is_address(b"envoy://connect_originate/10.0.0.1:80"));
        assert!(is_address(b"/var/run/x.sock"));
        assert!(!is_address(b"10.0.0.1"));
        assert!(!is_address(b"\"10.0.0.1:80\""));
    }
}

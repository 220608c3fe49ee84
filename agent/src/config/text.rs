//! Values that are written as text: `deserialize_with` helpers, and the forms of sizes,
//! durations, ports and addresses.

use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// A value of a type that reads itself from text.
pub(super) fn value<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(D::Error::custom)
}

/// One that may be absent.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let value = Option::<Item<T>>::deserialize(deserializer)?;
    Ok(value.map(|item| item.0))
}

/// A list of them.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let items = Vec::<Item<T>>::deserialize(deserializer)?;
    Ok(items.into_iter().map(|item| item.0).collect())
}

struct Item<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value(deserializer).map(Self)
    }
}

/// A list of ports with at least one.
pub(super) fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    let ports = list::<_, Port>(deserializer)?;
    if ports.is_empty() || ports.len() > 64 {
        return Err(D::Error::custom("expected 1 to 64 ports"));
    }
    Ok(ports.into_iter().map(|port| port.0).collect())
}

/// A port that may be absent.
pub(super) fn optional_port<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    Ok(optional::<_, Port>(deserializer)?.map(|port| port.0))
}

/// A number of bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(value::<_, ByteSize>(deserializer)?.0)
}

/// A time span.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Ok(value::<_, Span>(deserializer)?.0)
}

/// The path of a file or directory.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(value::<_, FilePath>(deserializer)?.0)
}

struct FilePath(PathBuf);

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.is_empty() || text.contains('\0') {
            true => Err("expected a path".to_owned()),
            false => Ok(Self(text.into())),
        }
    }
}

struct Port(u16);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(port @ 1..) if is_decimal(text) => Ok(Self(port)),
            _ => Err("expected a port from 1 to 65535".to_owned()),
        }
    }
}

struct ByteSize(u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a size such as `512KiB`, `16MiB` or `1GiB`".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit());
        let (count, unit) = text.split_at(digits.unwrap_or(text.len()));
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(expected()),
        };
        count
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(factor))
            .map(Self)
            .ok_or_else(expected)
    }
}

/// A size as a configuration would write it.
pub(super) struct ShownSize(pub(super) u64);

impl fmt::Display for ShownSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift))
            .map_or((self.0, "B"), |(shift, unit)| (self.0 >> shift, unit));
        write!(f, "{count}{unit}")
    }
}

struct Span(Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a time such as `500ms`, `10s`, `5m` or `1h`".to_owned();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(expected)?;
        let (count, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(expected()),
        };
        count
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(milliseconds))
            .map(|count| Self(Duration::from_millis(count)))
            .ok_or_else(expected)
    }
}

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected HOST:PORT, such as `collector:6514` or `[fd00::1]:6514`".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let Port(port) = port.parse()?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(address) => address
                .parse::<Ipv6Addr>()
                .map_err(|_| expected())?
                .to_string(),
            None if is_host_name(host) => host.to_owned(),
            None => return Err(expected()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Whether it can be the name of a host (RFC 1123; `_` occurs in names of services) or an IPv4
/// address.
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(is_name)
        })
}

/// Whether it is an HTTP token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ByteSize, Endpoint, Port, ShownSize, Span};

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("512KiB", 512 << 10),
            ("16MiB", 16 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for text in [
            "",
            "MiB",
            "16MB",
            "16 MiB",
            "-1",
            "1.5MiB",
            "16mib",
            "99999999999GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ShownSize(16 << 20).to_string(), "16MiB");
        assert_eq!(ShownSize(4097).to_string(), "4097B");
        assert_eq!(ShownSize(0).to_string(), "0B");
    }

    #[test]
    fn time_spans() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(text.parse::<Span>().unwrap().0, expected, "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1d",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for (text, host, port) in [
            ("collector:6514", "collector", 6514),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00:0::1]:65535", "fd00::1", 65535),
            (
                "logs.shop.svc.cluster.local:443",
                "logs.shop.svc.cluster.local",
                443,
            ),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
        for text in [
            "",
            "collector",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "fd00::1:1",
            "[x]:1",
            "a b:1",
            "tls://a:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!("+80".parse::<Port>().is_err());
    }
}

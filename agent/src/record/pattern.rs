//! Patterns of what records say: paths, pods, statuses, addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};

/// Text in which `*` stands for any characters, also none, also `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the whole text fits. Takes at most the product of both lengths in steps.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut in_pattern, mut in_text) = (0, 0);
        // Where to go on if what follows the last `*` does not fit: it takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        while in_text < text.len() {
            if pattern.get(in_pattern) == Some(&b'*') {
                in_pattern += 1;
                retry = Some((in_pattern, in_text));
            } else if pattern.get(in_pattern) == Some(&text[in_text]) {
                in_pattern += 1;
                in_text += 1;
            } else if let Some((after_star, taken)) = retry {
                in_pattern = after_star;
                in_text = taken + 1;
                retry = Some((after_star, taken + 1));
            } else {
                return false;
            }
        }
        pattern[in_pattern..].iter().all(|&byte| byte == b'*')
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (1..=1024).contains(&text.len()) && !text.contains(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(
                "expected text in which `*` stands for any characters, such as `/health*`"
                    .to_owned(),
            ),
        }
    }
}

/// A pod, by patterns of its namespace and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadPattern {
    namespace: Pattern,
    name: Pattern,
}

impl WorkloadPattern {
    /// Whether the pod fits.
    #[must_use]
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        self.namespace.matches(namespace) && self.name.matches(name)
    }
}

impl FromStr for WorkloadPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAMESPACE/POD, such as `shop/web-*` or `shop/*`".to_owned();
        let (namespace, name) = text.split_once('/').ok_or_else(expected)?;
        let is_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.*".contains(&byte);
        if !namespace.bytes().chain(name.bytes()).all(is_name) {
            return Err(expected());
        }
        Ok(Self {
            namespace: namespace.parse().map_err(|_| expected())?,
            name: name.parse().map_err(|_| expected())?,
        })
    }
}

impl fmt::Display for WorkloadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.0, self.name.0)
    }
}

impl Serialize for WorkloadPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A status (`503`) or a class of them (`5xx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusPattern {
    first: u16,
    last: u16,
}

impl StatusPattern {
    /// Whether the status fits.
    #[must_use]
    pub fn matches(&self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a status such as `503`, or a class such as `5xx`".to_owned();
        let (first, last) = match text.strip_suffix("xx") {
            Some(class) => (format!("{class}00"), format!("{class}99")),
            None => (text.to_owned(), text.to_owned()),
        };
        let status = |text: String| match text.parse() {
            Ok(status @ 100..=599) if text.len() == 3 => Ok(status),
            _ => Err(expected()),
        };
        Ok(Self {
            first: status(first)?,
            last: status(last)?,
        })
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}xx", self.first / 100),
        }
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether the address is in it. `::ffff:a.b.c.d` is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                u32::from(self.prefix) <= differing.leading_zeros()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                u32::from(self.prefix) <= differing.leading_zeros()
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected an address or a range, such as `10.0.0.0/8`".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| expected())?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| expected())?
            }
            Some(_) => return Err(expected()),
            None => longest,
        };
        if prefix > longest {
            return Err(expected());
        }
        let host_bits_are_zero = match network {
            IpAddr::V4(network) => u32::from(network).trailing_zeros() >= 32 - u32::from(prefix),
            IpAddr::V6(network) => u128::from(network).trailing_zeros() >= 128 - u32::from(prefix),
        };
        match host_bits_are_zero {
            true => Ok(Self { network, prefix }),
            false => Err(format!(
                "expected a range that begins at its network address: the bits behind the first \
                 {prefix} must be 0"
            )),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidr, Pattern, StatusPattern, WorkloadPattern};

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("/health", "/health", true),
            ("/health", "/healthz", false),
            ("/health*", "/health", true),
            ("/health*", "/health/live", true),
            ("*.html", "/a.html/b.html", true),
            ("*a*b*", "xaxxbx", true),
            ("*a*b*", "xbxxax", false),
            ("*", "", true),
            ("a", "", false),
            ("**a**", "a", true),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(text), expected, "{pattern:?} {text}");
        }
        assert!("".parse::<Pattern>().is_err() && "a\n".parse::<Pattern>().is_err());
    }

    #[test]
    fn workloads() {
        let shop: WorkloadPattern = "shop/web-*".parse().unwrap();
        assert!(shop.matches("shop", "web-1") && !shop.matches("shop2", "web-1"));
        for text in ["", "shop", "/web", "shop/", "shop/web/1", "Shop/web"] {
            assert!(text.parse::<WorkloadPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn are_written_as_they_are_read() {
        for text in ["5xx", "404"] {
            assert_eq!(text.parse::<StatusPattern>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.0/8", "fd00::/8"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!(
            "shop/*".parse::<WorkloadPattern>().unwrap().to_string(),
            "shop/*"
        );
    }

    #[test]
    fn statuses() {
        let class: StatusPattern = "5xx".parse().unwrap();
        assert!(class.matches(500) && class.matches(599) && !class.matches(499));
        let one: StatusPattern = "404".parse().unwrap();
        assert!(one.matches(404) && !one.matches(405));
        for text in ["", "xx", "6xx", "0xx", "99", "600", "5x", "+50", "5xxx"] {
            assert!(text.parse::<StatusPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges() {
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("fd00::/8", "fdff::1", true),
            ("::/0", "fe80::1", true),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                expected,
                "{range:?}"
            );
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "x/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}

//! The fields of a header block: RFC 9113 section 8.3.

use std::borrow::Cow;

use crate::http::{event::RequestHead, head::method_name, headers::Headers, hpack::Field};

/// What a header block holds, as far as it could be decoded.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// All but the pseudo-headers; those that are not known are left out.
    pub(super) headers: Headers,
    /// A name or a value is not known.
    pub(super) undecoded: bool,
    /// The peer takes it for malformed (section 8.1.1).
    pub(super) malformed: bool,
    method: Pseudo<Cow<'static, str>>,
    scheme: Pseudo<()>,
    authority: Pseudo<String>,
    path: Pseudo<String>,
    protocol: Pseudo<()>,
    status: Pseudo<u16>,
    /// A field without a known name stands where pseudo-headers do: it may be any of them.
    maybe_pseudo: bool,
    /// A field was seen that is no pseudo-header.
    regular: bool,
}

/// A pseudo-header.
#[derive(Debug, Default)]
enum Pseudo<T> {
    #[default]
    Absent,
    /// It is there; its value is not known.
    Unknown,
    Known(T),
}

/// What a header block says of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It is none: these are trailers, or malformed.
    Absent,
    /// There may be one.
    Possible,
    /// There is one; what it says is not known.
    Unknown,
    Known(u16),
}

impl Fields {
    /// Takes the next field.
    pub(super) fn push(&mut self, field: Field<'_>) {
        self.undecoded |= field.name.is_none() || field.value.is_none();
        let Some(name) = field.name else {
            self.maybe_pseudo |= !self.regular;
            return;
        };
        if let Some(name) = name.strip_prefix(b":") {
            self.malformed |= self.regular || !self.pseudo(name, field.value);
            return;
        }
        self.regular = true;
        self.malformed |= name.is_empty() || name.iter().any(u8::is_ascii_uppercase);
        if let Some(value) = field.value {
            self.headers.push(
                &String::from_utf8_lossy(name),
                &String::from_utf8_lossy(value),
            );
        }
    }

    /// It is a request, for all that is known.
    pub(super) fn is_request(&self) -> bool {
        self.method.is_there()
            || self.scheme.is_there()
            || self.path.is_there()
            || self.authority.is_there()
    }

    /// It asks for a tunnel.
    pub(super) fn is_connect(&self) -> bool {
        matches!(&self.method, Pseudo::Known(method) if method == "CONNECT")
    }

    /// The head of a request; none if it is malformed.
    pub(super) fn into_request(self) -> Option<RequestHead> {
        if self.malformed || self.status.is_there() || !self.has_all() {
            return None;
        }
        let host = || self.headers.values("host").next().map(str::to_owned);
        Some(RequestHead {
            authority: self.authority.known().or_else(host),
            method: self.method.known(),
            path: self.path.known(),
            version: "2",
            headers: self.headers,
            conflicting_length: false,
        })
    }

    /// What it says of a response.
    pub(super) fn status(&self) -> Status {
        match self.status {
            _ if self.malformed => Status::Absent,
            Pseudo::Known(status) => Status::Known(status),
            Pseudo::Unknown => Status::Unknown,
            Pseudo::Absent if self.maybe_pseudo => Status::Possible,
            Pseudo::Absent => Status::Absent,
        }
    }

    /// No pseudo-header is missing that a request needs, as far as is known (section 8.3.1).
    fn has_all(&self) -> bool {
        let full = self.scheme.is_there() && self.path.is_there();
        let needed = if self.is_connect() && !self.protocol.is_there() {
            // Of an extended one (RFC 8441) all are needed.
            true
        } else {
            full
        };
        self.maybe_pseudo || (self.method.is_there() && needed)
    }

    /// Takes a pseudo-header. False if there is none of this name, or two.
    fn pseudo(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        match name {
            b"method" => self
                .method
                .set(value.map(|value| method_name(&String::from_utf8_lossy(value)))),
            b"scheme" => self.scheme.set(value.map(|_| ())),
            b"authority" => self.authority.set(value.map(text)),
            b"path" => self.path.set(value.map(text)),
            b"protocol" => self.protocol.set(value.map(|_| ())),
            b"status" => match value.map(status) {
                Some(None) => false,
                value => self.status.set(value.flatten()),
            },
            _ => false,
        }
    }
}

impl<T> Pseudo<T> {
    /// False if it was there already.
    fn set(&mut self, value: Option<T>) -> bool {
        let is_first = matches!(self, Self::Absent);
        *self = value.map_or(Self::Unknown, Self::Known);
        is_first
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// A status: three digits (RFC 9110 section 15).
fn status(value: &[u8]) -> Option<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => str::from_utf8(value).ok()?.parse().ok(),
        _ => None,
    }
}

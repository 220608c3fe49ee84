//! Header fields, and those of them that decide how a message is framed.

use std::borrow::Cow;

use httparse::Header;

use super::headers::Headers;

/// The fields of a head.
#[derive(Debug)]
pub(super) struct Fields {
    /// All, names in lower case, in order.
    pub(super) headers: Headers,
    /// What Content-Length says.
    pub(super) length: Length,
    /// What Transfer-Encoding says.
    pub(super) coding: Coding,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
    /// The connection is offered for another protocol.
    pub(super) upgrades: bool,
    close: bool,
    keep_alive: bool,
}

/// What the Content-Length fields say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    Absent,
    /// All agree.
    Exact(u64),
    /// They disagree, or one is no number.
    Invalid,
}

/// What the Transfer-Encoding fields say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// There is none.
    None,
    /// The last coding is chunked.
    Chunked,
    /// It is another.
    Other,
}

impl Fields {
    pub(super) fn read(headers: &[Header<'_>]) -> Self {
        let headers = headers.iter().map(|field| (field.name, text(field.value)));
        let headers: Headers = headers.collect();
        let mut fields = Self {
            headers: Headers::default(),
            length: Length::Absent,
            coding: Coding::None,
            expects_continue: false,
            upgrades: false,
            close: false,
            keep_alive: false,
        };
        for (name, value) in headers.iter() {
            fields.note(name, value);
        }
        fields.headers = headers;
        fields
    }

    /// No message follows this one in its stream: RFC 9112 section 9.3.
    pub(super) fn closes(&self, minor_version: u8) -> bool {
        self.close || (minor_version == 0 && !self.keep_alive)
    }

    fn note(&mut self, name: &str, value: &str) {
        match name {
            "content-length" => {
                for item in value.split(',') {
                    self.length = self.length.and(item.trim());
                }
            }
            "transfer-encoding" => {
                let last = value.rsplit(',').next().unwrap_or_default().trim();
                self.coding = if last.eq_ignore_ascii_case("chunked") {
                    Coding::Chunked
                } else {
                    Coding::Other
                };
            }
            "connection" => {
                self.close |= lists(value, "close");
                self.keep_alive |= lists(value, "keep-alive");
                self.upgrades |= lists(value, "upgrade");
            }
            "expect" => self.expects_continue |= lists(value, "100-continue"),
            _ => {}
        }
    }
}

impl Length {
    fn and(self, item: &str) -> Self {
        let digits = !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit());
        match (self, item.parse()) {
            (Self::Absent, Ok(length)) if digits => Self::Exact(length),
            (Self::Exact(known), Ok(length)) if digits && known == length => self,
            _ => Self::Invalid,
        }
    }
}

fn lists(value: &str, token: &str) -> bool {
    value
        .split(',')
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// A value as text: folded lines joined by a space, bytes that are no UTF-8 replaced.
fn text(value: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value);
    if !value.contains(&b'\n') {
        return text;
    }
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    Cow::Owned(lines.join(" "))
}

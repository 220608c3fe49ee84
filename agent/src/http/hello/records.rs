//! The first handshake message out of the records that carry it (RFC 8446 section 5.1).

use std::borrow::Cow;

use super::{MOST_BYTES, cursor::Cursor};

/// What the first records hold.
#[derive(Debug)]
pub(super) enum Joined<'a> {
    /// The whole first message, with its header.
    Message(Cow<'a, [u8]>),
    /// More is to come.
    Partial,
    /// No handshake of TLS.
    Plain,
    /// Records that no TLS has.
    Unreadable,
}

/// The content type of handshake messages.
const HANDSHAKE: u8 = 22;
/// The first byte of a record's version, whatever is spoken.
const MAJOR: u8 = 3;
/// The longest fragment in a record.
const LONGEST_FRAGMENT: usize = 1 << 14;
/// Type and length of a message.
const MESSAGE_HEADER: usize = 4;

pub(super) fn join(bytes: &[u8]) -> Joined<'_> {
    if bytes.first().is_some_and(|first| *first != HANDSHAKE) {
        return Joined::Plain;
    }
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (kind, after) = (rest[0], &rest[1..]);
        if kind != HANDSHAKE || after.first().is_some_and(|major| *major != MAJOR) {
            return Joined::Unreadable;
        }
        let Some((&[_, _, high, low], after)) = after.split_first_chunk() else {
            return Joined::Partial;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // An empty fragment of a handshake is forbidden.
        if length == 0 || length > LONGEST_FRAGMENT {
            return Joined::Unreadable;
        }
        let (fragment, after) = after.split_at(length.min(after.len()));
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        let Some(expected) = whole(&message) else {
            rest = after;
            continue;
        };
        if expected > MOST_BYTES {
            return Joined::Unreadable;
        }
        if message.len() >= expected {
            return Joined::Message(cut(message, expected));
        }
        rest = after;
    }
    Joined::Partial
}

/// The length of a message, by its header.
fn whole(message: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(message);
    cursor.u8()?;
    let length = cursor.u24()?;
    Some(usize::try_from(length).ok()?.saturating_add(MESSAGE_HEADER))
}

/// Others may follow it in the same record.
fn cut(message: Cow<'_, [u8]>, length: usize) -> Cow<'_, [u8]> {
    match message {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..length]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(length);
            Cow::Owned(bytes)
        }
    }
}

//! The messages `ClientHello` and `ServerHello` (RFC 8446 section 4.1, RFC 5246 section 7.4.1).

use super::{ClientHello, Hello, ServerHello, cursor::Cursor, names};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// The type of a DNS name in `server_name`.
const HOST_NAME: u8 = 0;

const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES: usize = 32;

/// Protocols that are kept of those a client offers.
const KEPT_PROTOCOLS: usize = 16;

/// Reads a message with its header; none if it is no hello, or a malformed one.
pub(super) fn read(message: &[u8]) -> Option<Hello> {
    let mut cursor = Cursor::new(message);
    let kind = cursor.u8()?;
    cursor.u24()?;
    match kind {
        CLIENT_HELLO => client(cursor).map(Hello::Client),
        SERVER_HELLO => server(cursor).map(Hello::Server),
        _ => None,
    }
}

fn client(mut cursor: Cursor<'_>) -> Option<ClientHello> {
    before_choice(&mut cursor)?;
    let suites = cursor.long()?;
    let compressions = cursor.short()?;
    if suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    let mut hello = ClientHello::default();
    each_extension(cursor, |kind, body| {
        match kind {
            SERVER_NAME => hello.server_name = server_name(body)?,
            ALPN => {
                for name in protocols(body)?.take(KEPT_PROTOCOLS) {
                    hello.protocols.extend(names::protocol(name?));
                }
            }
            _ => {}
        }
        Some(())
    })?;
    Some(hello)
}

fn server(mut cursor: Cursor<'_>) -> Option<ServerHello> {
    let mut version = before_choice(&mut cursor)?;
    let cipher = cursor.u16()?;
    let _compression = cursor.u8()?;
    let mut protocol = None;
    each_extension(cursor, |kind, mut body| {
        match kind {
            SUPPORTED_VERSIONS => {
                version = body.u16()?;
                body.is_empty().then_some(())?;
            }
            ALPN => {
                let chosen = protocols(body)?.next()??;
                protocol = names::protocol(chosen);
            }
            _ => {}
        }
        Some(())
    })?;
    Some(ServerHello {
        version: names::version(version).map(Into::into),
        cipher: names::cipher(cipher),
        protocol,
    })
}

/// Passes over version, random and session id, and returns the version.
fn before_choice(cursor: &mut Cursor<'_>) -> Option<u16> {
    let version = cursor.u16()?;
    cursor.bytes(RANDOM_BYTES)?;
    let session = cursor.short()?;
    (session.len() <= SESSION_ID_BYTES).then_some(version)
}

/// Hands on each extension; none if one is malformed, or anything follows them.
fn each_extension<'a>(
    mut cursor: Cursor<'a>,
    mut take: impl FnMut(u16, Cursor<'a>) -> Option<()>,
) -> Option<()> {
    // Before TLS 1.3 there may be none at all.
    if cursor.is_empty() {
        return Some(());
    }
    let mut extensions = Cursor::new(cursor.long()?);
    if !cursor.is_empty() {
        return None;
    }
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        take(kind, Cursor::new(extensions.long()?))?;
    }
    Some(())
}

/// The host name in the list; `Some(None)` if there is none that may be shown.
#[expect(
    clippy::option_option,
    reason = "the outer layer says whether the list could be read"
)]
fn server_name(mut body: Cursor<'_>) -> Option<Option<String>> {
    let mut list = Cursor::new(body.long()?);
    let mut found = None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.long()?;
        if kind == HOST_NAME && found.is_none() {
            found = names::host(name);
        }
    }
    Some(found)
}

/// The names in a list of protocols, as far as it can be read.
fn protocols(mut body: Cursor<'_>) -> Option<impl Iterator<Item = Option<&[u8]>>> {
    let mut list = Cursor::new(body.long()?);
    Some(std::iter::from_fn(move || {
        (!list.is_empty()).then(|| list.short())
    }))
}

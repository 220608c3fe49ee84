//! Message heads: `httparse` for the syntax, RFC 9112 section 6.3 for what follows.

use std::{borrow::Cow, mem::MaybeUninit};

use httparse::{EMPTY_HEADER, Error, Header, ParserConfig, Status};

use super::{
    body::Body,
    chunked::Chunked,
    event::RequestHead,
    fields::{Coding, Fields, Length},
    headers::Headers,
    target::Target,
};

/// What the front of some bytes is.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// A head of so many bytes.
    Whole(T, usize),
    /// The beginning of one.
    Partial,
    /// Nothing that can become one.
    Refused,
}

/// A request head and what it says about the stream.
#[derive(Debug)]
pub(super) struct RequestStart {
    pub(super) head: RequestHead,
    /// The body; none where its end cannot be told (RFC 9112 section 6.3, items 4 and 5).
    pub(super) body: Option<Body>,
    pub(super) method: Method,
    /// No further request follows (RFC 9112 section 9.6).
    pub(super) last: bool,
    /// An interim response is asked for.
    pub(super) expects_continue: bool,
    /// The stream may become a tunnel.
    pub(super) upgrades: bool,
}

/// What a method means for the response to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// HEAD: the response has no body.
    Head,
    /// CONNECT: a success makes a tunnel.
    Connect,
    /// Any other.
    Other,
}

impl Method {
    /// The method of a request that begins with these bytes, as far as they tell.
    pub(super) fn of_request(bytes: &[u8]) -> Option<Self> {
        match bytes.iter().position(|byte| *byte == b' ') {
            Some(end) => Some(Self::of(&bytes[..end])),
            None if b"HEAD".starts_with(bytes) || b"CONNECT".starts_with(bytes) => None,
            None => Some(Self::Other),
        }
    }

    fn of(name: &[u8]) -> Self {
        match name {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// A response head and what it says about the stream.
#[derive(Debug)]
pub(super) struct ResponseStart {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// No further response follows.
    pub(super) last: bool,
    framed: Body,
}

/// Reads a request head. A folded line is refused as the proxy refuses it.
pub(super) fn parse_request(bytes: &[u8]) -> Parsed<RequestStart> {
    let parsed = parse_valid_request(bytes);
    if matches!(parsed, Parsed::Refused)
        && let Some(line) = bytes.iter().position(|byte| *byte == b'\n')
        && str::from_utf8(&bytes[..line]).is_err()
    {
        // httparse wants targets to be UTF-8; the proxy takes every byte from 0x80 on.
        let shown = String::from_utf8_lossy(&bytes[..line]);
        let patched = [shown.as_bytes(), &bytes[line..]].concat();
        return match parse_valid_request(&patched) {
            Parsed::Whole(start, length) => Parsed::Whole(start, length + line - shown.len()),
            other => other,
        };
    }
    parsed
}

/// Reads a response head. Folded lines are joined: the applications' answers come as they come.
pub(super) fn parse_response(bytes: &[u8]) -> Parsed<ResponseStart> {
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let result = config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let mut many;
    let result = if result == Err(Error::TooManyHeaders) {
        many = room(bytes);
        response = httparse::Response::new(&mut many);
        config.parse_response(&mut response, bytes)
    } else {
        result
    };
    match result {
        Ok(Status::Complete(length)) => match (response.code, response.version) {
            (Some(status), Some(version)) => {
                Parsed::Whole(response_start(status, version, response.headers), length)
            }
            _ => Parsed::Refused,
        },
        Ok(Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Refused,
    }
}

impl ResponseStart {
    /// An interim response: the final one is still to come. 101 is final.
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != 101
    }

    /// The stream is a tunnel from here on.
    pub(super) fn opens_tunnel(&self, method: Method) -> bool {
        self.status == 101 || (method == Method::Connect && matches!(self.status, 200..=299))
    }

    /// The response itself comes as HTTP/2 (RFC 7540 section 3.2).
    pub(super) fn upgrades_to_http2(&self) -> bool {
        self.status == 101
            && self
                .headers
                .values("upgrade")
                .any(|protocol| protocol.trim().eq_ignore_ascii_case("h2c"))
    }

    /// The body of the response to a request of this method.
    pub(super) fn body(&self, method: Method) -> Body {
        if method == Method::Head || matches!(self.status, 100..=199 | 204 | 304) {
            Body::NONE
        } else {
            self.framed
        }
    }
}

/// Headers of a head that fit on the stack; the proxy's own bound is 100.
const HEADERS: usize = 128;

fn parse_valid_request(bytes: &[u8]) -> Parsed<RequestStart> {
    let config = ParserConfig::default();
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let result = config.parse_request_with_uninit_headers(&mut request, bytes, &mut headers);
    let mut many;
    let result = if result == Err(Error::TooManyHeaders) {
        many = room(bytes);
        request = httparse::Request::new(&mut many);
        config.parse_request(&mut request, bytes)
    } else {
        result
    };
    match result {
        Ok(Status::Complete(length)) => match (request.method, request.path, request.version) {
            (Some(method), Some(path), Some(version)) => Parsed::Whole(
                request_start(method, path, version, request.headers),
                length,
            ),
            _ => Parsed::Refused,
        },
        Ok(Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Refused,
    }
}

/// Room for every header that `bytes` can hold: each ends a line.
fn room(bytes: &[u8]) -> Vec<Header<'_>> {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    vec![EMPTY_HEADER; lines + 1]
}

fn request_start(method: &str, target: &str, version: u8, headers: &[Header<'_>]) -> RequestStart {
    let fields = Fields::read(headers);
    let kind = Method::of(method.as_bytes());
    let body = match (fields.coding, fields.length) {
        (Coding::Chunked, _) => Some(Body::Chunked(Chunked::START)),
        (Coding::Other, _) | (Coding::None, Length::Invalid) => None,
        (Coding::None, Length::Exact(length)) => Some(Body::Length(length)),
        (Coding::None, Length::Absent) => Some(Body::NONE),
    };
    let conflicting_length = fields.coding != Coding::None && fields.length != Length::Absent;
    let host = fields.headers.values("host").next().map(str::to_owned);
    let target = Target::split(kind, target);
    RequestStart {
        body,
        method: kind,
        last: fields.closes(version),
        expects_continue: fields.expects_continue,
        upgrades: fields.upgrades || kind == Method::Connect,
        head: RequestHead {
            method: Some(method_name(method)),
            path: Some(target.path),
            authority: target.authority.or(host),
            version: version_name(version),
            headers: fields.headers,
            conflicting_length,
        },
    }
}

fn response_start(status: u16, version: u8, headers: &[Header<'_>]) -> ResponseStart {
    let fields = Fields::read(headers);
    let framed = match (fields.coding, fields.length) {
        (Coding::Chunked, _) => Body::Chunked(Chunked::START),
        (Coding::None, Length::Exact(length)) => Body::Length(length),
        (Coding::Other, _) | (Coding::None, Length::Absent | Length::Invalid) => Body::UntilClose,
    };
    ResponseStart {
        status,
        last: fields.closes(version),
        headers: fields.headers,
        framed,
    }
}

/// Without a copy of those that everybody uses.
pub(super) fn method_name(name: &str) -> Cow<'static, str> {
    let known = METHODS.into_iter().find(|known| *known == name);
    known.map_or_else(|| name.to_owned().into(), Cow::Borrowed)
}

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE",
];

fn version_name(minor: u8) -> &'static str {
    if minor == 0 { "1.0" } else { "1.1" }
}

#[cfg(test)]
mod tests {
    use super::{
        Body, Chunked, Method, Parsed, RequestStart, ResponseStart, parse_request, parse_response,
    };

    fn request(head: &str) -> RequestStart {
        match parse_request(head.as_bytes()) {
            Parsed::Whole(start, length) => {
                assert_eq!(length, head.len());
                start
            }
            other => panic!("{other:?}"),
        }
    }

    fn response(head: &str) -> ResponseStart {
        match parse_response(head.as_bytes()) {
            Parsed::Whole(start, length) => {
                assert_eq!(length, head.len());
                start
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keeps_every_header_in_order_with_lower_names() {
        let start = request("GET /a?b=c HTTP/1.1\r\nHOST: h\r\nX-A: 1 \r\nx-a:2\r\n\r\n");
        let head = &start.head;
        assert_eq!(
            (head.method.as_deref(), head.path.as_deref(), head.version),
            (Some("GET"), Some("/a?b=c"), "1.1")
        );
        assert_eq!(head.authority.as_deref(), Some("h"));
        let headers: Vec<_> = head.headers.iter().collect();
        assert_eq!(headers, [("host", "h"), ("x-a", "1"), ("x-a", "2")]);
        assert_eq!(start.body, Some(Body::NONE));
        assert!(!start.last);
    }

    #[test]
    fn the_transfer_coding_wins_over_a_length() {
        let start = request(
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
        );
        assert_eq!(start.body, Some(Body::Chunked(Chunked::START)));
        assert!(start.head.conflicting_length);
    }

    #[test]
    fn lengths_that_disagree_have_no_end() {
        let body = |fields: &str| request(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).body;
        assert_eq!(
            body("Content-Length: 3\r\nContent-Length: 3, 3\r\n"),
            Some(Body::Length(3))
        );
        assert_eq!(body("Content-Length: 3\r\nContent-Length: 4\r\n"), None);
        assert_eq!(body("Content-Length: +3\r\n"), None);
        assert_eq!(body("Content-Length: 99999999999999999999\r\n"), None);
        assert_eq!(body("Transfer-Encoding: chunked, gzip\r\n"), None);
    }

    #[test]
    fn folded_lines_are_refused_in_requests_and_joined_in_responses() {
        assert!(matches!(
            parse_request(b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
            Parsed::Refused
        ));
        let start = response("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(start.headers.iter().next(), Some(("a", "b c")));
        assert_eq!(start.body(Method::Other), Body::Length(1));
    }

    #[test]
    fn a_target_need_not_be_utf8() {
        let head = b"GET /\xff\xfe/a HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let Parsed::Whole(start, length) = parse_request(head) else {
            panic!("refused");
        };
        assert_eq!(start.head.path.as_deref(), Some("/\u{fffd}\u{fffd}/a"));
        assert_eq!(&head[length..], b"rest");
        assert!(matches!(
            parse_request(&head[..head.len() - 6]),
            Parsed::Partial
        ));
    }

    #[test]
    fn bodies_of_responses() {
        let start = response("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(start.body(Method::Other), Body::Length(7));
        assert_eq!(start.body(Method::Head), Body::NONE);
        let start = response("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(start.body(Method::Other), Body::NONE);
        let start = response("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(start.body(Method::Other), Body::NONE);
        let start = response("HTTP/1.0 200 OK\r\n\r\n");
        assert_eq!(start.body(Method::Other), Body::UntilClose);
        assert!(start.last && start.opens_tunnel(Method::Connect));
        assert!(response("HTTP/1.1 103 Early Hints\r\n\r\n").is_interim());
        assert!(response("HTTP/1.1 101 Switching Protocols\r\n\r\n").opens_tunnel(Method::Other));
    }

    #[test]
    fn the_end_of_a_connection_is_announced() {
        assert!(request("GET / HTTP/1.1\r\nConnection: te, Close\r\n\r\n").last);
        assert!(request("GET / HTTP/1.0\r\n\r\n").last);
        assert!(!request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").last);
    }

    #[test]
    fn five_hundred_headers_are_read() {
        let mut head = String::from("GET / HTTP/1.1\r\n");
        for index in 0..500 {
            head.push_str(&format!("h{index}: v\r\n"));
        }
        head.push_str("\r\n");
        assert_eq!(request(&head).head.headers.len(), 500);
    }
}

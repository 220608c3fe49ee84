//! The OpenTelemetry attributes of a record.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Shown, Tls};

/// What is known of a connection or an exchange. Written under the names of OpenTelemetry's
/// semantic conventions, in the order of the alphabet; what is not known is left out, and what was
/// sent but could not be decoded is null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// `client.address` and `client.port`.
    pub client: Option<SocketAddr>,
    /// `http.request.body.size`.
    pub request_bytes: Option<u64>,
    /// `http.request.method`.
    pub method: Option<Cow<'static, str>>,
    /// `http.response.body.size`.
    pub response_bytes: Option<u64>,
    /// `http.response.status_code`.
    pub status: Option<u16>,
    /// `network.peer.address` and `network.peer.port`.
    pub peer: Option<SocketAddr>,
    /// `network.protocol.name`.
    pub protocol: Option<&'static str>,
    /// `network.protocol.version`.
    pub protocol_version: Option<Cow<'static, str>>,
    /// `rpc.grpc.status_code`.
    pub grpc_status: Option<u32>,
    /// `network.transport`.
    pub transport: Option<&'static str>,
    /// `meshwitness.policy.reason`: why this is expected, as the policy has it.
    pub policy: Option<Arc<str>>,
    /// `server.address` and `server.port`.
    pub server: Option<SocketAddr>,
    /// `tls.…`.
    pub tls: Option<Box<Tls>>,
    /// `enduser.…`, `meshwitness.jwt.…`, `user.…`, `url.path`, `url.query`, `rpc.system`,
    /// `http.request.header.…` and `http.response.header.…`.
    /// Shared with the exchange or line that it is of.
    pub shown: Arc<Shown>,
    /// What of a message's fields is absent may have been sent.
    pub undecoded: Undecoded,
}

/// Which messages have fields that could not be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undecoded {
    /// The request.
    pub request: bool,
    /// The response.
    pub response: bool,
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        address(&mut map, ["client.address", "client.port"], self.client)?;
        self.identity(&mut map, "enduser.")?;
        entry(&mut map, "http.request.body.size", &self.request_bytes)?;
        headers(&mut map, "request", &self.shown.request_headers)?;
        let Undecoded { request, response } = self.undecoded;
        field(&mut map, "http.request.method", &self.method, request)?;
        entry(&mut map, "http.response.body.size", &self.response_bytes)?;
        headers(&mut map, "response", &self.shown.response_headers)?;
        field(
            &mut map,
            "http.response.status_code",
            &self.status,
            response,
        )?;
        self.identity(&mut map, "meshwitness.")?;
        entry(&mut map, "meshwitness.policy.reason", &self.policy)?;
        let peer = ["network.peer.address", "network.peer.port"];
        address(&mut map, peer, self.peer)?;
        entry(&mut map, "network.protocol.name", &self.protocol)?;
        entry(&mut map, "network.protocol.version", &self.protocol_version)?;
        entry(&mut map, "network.transport", &self.transport)?;
        if self.shown.grpc {
            let name = "rpc.grpc.status_code";
            field(&mut map, name, &self.grpc_status, response)?;
            map.serialize_entry("rpc.system", "grpc")?;
        }
        address(&mut map, ["server.address", "server.port"], self.server)?;
        if let Some(tls) = &self.tls {
            tls.write(&mut map)?;
        }
        field(&mut map, "url.path", &self.shown.path, request)?;
        entry(&mut map, "url.query", &self.shown.query)?;
        self.identity(&mut map, "user.")?;
        map.end()
    }
}

impl Attributes {
    /// Writes those attributes of who asked whose names begin so.
    fn identity<M: SerializeMap>(&self, map: &mut M, begin: &str) -> Result<(), M::Error> {
        let identity = self.shown.identity.iter();
        for (name, value) in identity.filter(|(name, _)| name.starts_with(begin)) {
            map.serialize_entry(name, value)?;
        }
        Ok(())
    }
}

pub(super) fn entry<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: &Option<impl Serialize>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

/// A field of a message that is null if it could not be decoded.
fn field<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: &Option<impl Serialize>,
    undecoded: bool,
) -> Result<(), M::Error> {
    match value {
        None if undecoded => map.serialize_entry(name, &()),
        _ => entry(map, name, value),
    }
}

fn address<M: SerializeMap>(
    map: &mut M,
    [address, port]: [&str; 2],
    end: Option<SocketAddr>,
) -> Result<(), M::Error> {
    let Some(end) = end else { return Ok(()) };
    map.serialize_entry(address, &Written(end.ip()))?;
    map.serialize_entry(port, &end.port())
}

fn headers<M: SerializeMap>(
    map: &mut M,
    message: &str,
    headers: &[(Arc<str>, Vec<String>)],
) -> Result<(), M::Error> {
    let mut headers: Vec<_> = headers.iter().collect();
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, values) in headers {
        let name = Written(HeaderName { message, name });
        match values.is_empty() {
            true => map.serialize_entry(&name, &())?,
            false => map.serialize_entry(&name, values)?,
        }
    }
    Ok(())
}

struct HeaderName<'a> {
    message: &'a str,
    name: &'a str,
}

impl Display for HeaderName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in ["http.", self.message, ".header.", self.name] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Goes into the output as it is displayed, without a string in between.
struct Written<T>(T);

impl<T: Display> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{Attributes, Undecoded};
    use crate::record::{Shown, Tls};

    #[test]
    fn are_written_in_the_order_of_their_names() {
        let header = |name: &str| (name.into(), vec!["\"1\"".to_owned(), "2".to_owned()]);
        let attributes = Attributes {
            client: "10.0.0.1:1".parse().ok(),
            request_bytes: Some(0),
            method: Some("GET".into()),
            response_bytes: Some(7),
            status: Some(200),
            peer: "[fd00::1]:15001".parse().ok(),
            protocol: Some("http"),
            protocol_version: Some("1.1".into()),
            grpc_status: Some(5),
            transport: Some("tcp"),
            policy: Some("the old registry".into()),
            server: "10.0.0.2:80".parse().ok(),
            tls: Some(Box::new(Tls {
                client_subject: Some("spiffe://a".into()),
                server_subject: Some("spiffe://b".into()),
                cipher: Some("TLS_AES_128_GCM_SHA256".into()),
                offered: vec!["h2".to_owned(), "http/1.1".to_owned()],
                server_name: Some("shop.example".to_owned()),
                plain: true,
                protocol: Some("h2".to_owned()),
                version: Some("1.3".into()),
            })),
            shown: Arc::new(Shown {
                path: Some("/a".into()),
                query: Some("b=REDACTED".into()),
                request_headers: vec![header("user-agent"), header("traceparent")],
                response_headers: vec![header("content-type")],
                identity: ["enduser.id", "meshwitness.jwt.iss", "user.email"]
                    .map(|name| (name.into(), "x".to_owned()))
                    .to_vec(),
                grpc: true,
                ..Shown::default()
            }),
            undecoded: Undecoded::default(),
        };
        let text = serde_json::to_string(&attributes).unwrap();
        // A map of this library is sorted, and has each name once.
        let sorted: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text, sorted.to_string());
        assert_eq!(sorted["network.peer.address"], "fd00::1");
        assert_eq!(sorted["server.port"], 80);
        assert_eq!(sorted["http.request.header.user-agent"][1], "2");
        assert_eq!(sorted.as_object().map(serde_json::Map::len), Some(33));
    }

    #[test]
    fn what_could_not_be_decoded_is_null() {
        let attributes = |undecoded, grpc| {
            serde_json::to_value(Attributes {
                shown: Arc::new(Shown {
                    request_headers: vec![("traceparent".into(), Vec::new())],
                    grpc,
                    ..Shown::default()
                }),
                undecoded,
                ..Attributes::default()
            })
            .unwrap()
        };
        let (request, response) = (true, true);
        let both = Undecoded { request, response };
        let expected = json!({
            "http.request.header.traceparent": null,
            "http.request.method": null,
            "http.response.status_code": null,
            "rpc.grpc.status_code": null,
            "rpc.system": "grpc",
            "url.path": null,
        });
        assert_eq!(attributes(both, true), expected);
        let request = Undecoded {
            request,
            ..Undecoded::default()
        };
        let expected = json!({
            "http.request.header.traceparent": null,
            "http.request.method": null,
            "url.path": null,
        });
        assert_eq!(attributes(request, false), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = serde_json::to_string(&Attributes::default()).unwrap();
        assert_eq!(text, "{}");
    }
}

//! What is known of a connection's TLS: by its hellos, and by the proxy's line.

use std::{borrow::Cow, sync::Arc};

use serde::ser::SerializeMap;

use super::attributes::entry;

/// What the hellos of a connection say, and the proxy of the certificates. Written under OpenTelemetry's names where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `tls.cipher`: the suite that the server chose.
    pub cipher: Option<Cow<'static, str>>,
    /// `tls.client.next_protocols`: what the client offers in ALPN, for which OpenTelemetry has no
    /// name. TLS 1.3 encrypts what the server chooses of it.
    pub offered: Vec<String>,
    /// `tls.client.server_name`: SNI. OpenTelemetry would have it in `server.address`, which is an
    /// address here.
    pub server_name: Option<String>,
    /// `tls.client.subject`: the URI in the client's certificate, its SPIFFE identity.
    pub client_subject: Option<Arc<str>>,
    /// `tls.established` is false: the client began with something else.
    pub plain: bool,
    /// `tls.next_protocol`: what the server chose in ALPN, where that is visible.
    pub protocol: Option<String>,
    /// `tls.protocol.version`, for which `tls.protocol.name` is `tls`, or `ssl` for `3`.
    pub version: Option<Cow<'static, str>>,
    /// `tls.server.subject`: that in the server's.
    pub server_subject: Option<Arc<str>>,
}

/// The last version of SSL; what follows is TLS.
const SSL: &str = "3";

impl Tls {
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        entry(map, "tls.cipher", &self.cipher)?;
        if !self.offered.is_empty() {
            map.serialize_entry("tls.client.next_protocols", &self.offered)?;
        }
        entry(map, "tls.client.server_name", &self.server_name)?;
        entry(map, "tls.client.subject", &self.client_subject)?;
        if self.plain {
            map.serialize_entry("tls.established", &false)?;
        }
        entry(map, "tls.next_protocol", &self.protocol)?;
        let name = |version: &Cow<'_, str>| if version == SSL { "ssl" } else { "tls" };
        entry(map, "tls.protocol.name", &self.version.as_ref().map(name))?;
        entry(map, "tls.protocol.version", &self.version)?;
        entry(map, "tls.server.subject", &self.server_subject)
    }
}

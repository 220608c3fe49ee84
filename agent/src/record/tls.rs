//! What is known of a connection's TLS.

use std::borrow::Cow;

use serde::ser::SerializeMap;

use super::attributes::entry;

/// What the hellos of a connection say. Written under OpenTelemetry's names where there is one.
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
    /// `tls.established` is false: the client began with something else.
    pub plain: bool,
    /// `tls.next_protocol`: what the server chose in ALPN, where that is visible.
    pub protocol: Option<String>,
    /// `tls.protocol.version`, for which `tls.protocol.name` is `tls`, or `ssl` for `3`.
    pub version: Option<Cow<'static, str>>,
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
        if self.plain {
            map.serialize_entry("tls.established", &false)?;
        }
        entry(map, "tls.next_protocol", &self.protocol)?;
        let name = |version: &Cow<'_, str>| if version == SSL { "ssl" } else { "tls" };
        entry(map, "tls.protocol.name", &self.version.as_ref().map(name))?;
        entry(map, "tls.protocol.version", &self.version)
    }
}

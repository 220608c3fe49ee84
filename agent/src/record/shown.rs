//! What records show of a message, already redacted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The redacted values that a record shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The path.
    pub path: Option<String>,
    /// The query.
    pub query: Option<String>,
    /// The authority.
    pub authority: Option<String>,
    /// Request headers on the list. One without values may have been sent, but could not be decoded.
    pub request_headers: Vec<(Arc<str>, Vec<String>)>,
    /// Response headers on the list, alike.
    pub response_headers: Vec<(Arc<str>, Vec<String>)>,
    /// Who asked, by the claims of a bearer token: attributes, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<(Arc<str>, String)>,
    /// It is a call of gRPC.
    #[serde(default)]
    pub grpc: bool,
    /// Both Content-Length and Transfer-Encoding were there.
    pub conflicting_length: bool,
}

//! `redact`: what never goes out.

use serde::{Deserialize, Deserializer, de::Error};

use super::text;
use crate::record::{Pattern, QueryRedaction};

/// What never goes out, beyond the header values that are not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redact {
    /// What becomes of a query string.
    pub query: QueryRedaction,
    /// Paths whose text is a secret; `*` stands for any characters.
    #[serde(deserialize_with = "paths")]
    pub paths: Vec<Pattern>,
    /// What is kept of who asked.
    pub identity: Identity,
}

/// What is kept of who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The claims of a bearer token that are kept; none by default.
    #[serde(deserialize_with = "claims")]
    pub jwt_claims: Vec<String>,
    /// How a claim is kept.
    pub form: IdentityForm,
}

/// How a claim is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityForm {
    /// As a keyed hash, which tells persons apart without naming them.
    #[default]
    Hash,
    /// As it is.
    Plain,
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    let paths = text::list(deserializer)?;
    match paths.len() {
        0..=256 => Ok(paths),
        _ => Err(D::Error::custom("expected at most 256 paths")),
    }
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let claims = Vec::<String>::deserialize(deserializer)?;
    match claims.is_empty() {
        true => Ok(claims),
        false => Err(D::Error::custom("not in this version: leave it empty")),
    }
}

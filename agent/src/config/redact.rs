//! `redact`: what never goes out.

use std::collections::BTreeSet;

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
    let is_name = |claim: &String| {
        (1..=128).contains(&claim.len()) && claim.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let mut seen = BTreeSet::new();
    if claims.len() <= 16
        && claims
            .iter()
            .all(|claim| is_name(claim) && seen.insert(claim))
    {
        Ok(claims)
    } else {
        Err(D::Error::custom(
            "expected at most 16 names of claims, such as `sub`, each once",
        ))
    }
}

//! Who asked, by named claims of a bearer token (RFC 6750, RFC 7519). The token is read and dropped
//! here. Its signature is not checked: the agent has no keys, and whoever accepts the token does.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::Fingerprints;

/// The longest payload of a token that is read, in bytes of base64.
const LONGEST_PAYLOAD: usize = 16 << 10;

/// The longest claim that is shown as it is, in bytes.
const LONGEST_CLAIM: usize = 256;

/// The claims that are kept, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityRedaction {
    /// By the names of their attributes.
    claims: Vec<KeptClaim>,
    plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct KeptClaim {
    attribute: Arc<str>,
    claim: String,
}

impl IdentityRedaction {
    /// Keeps these claims: `plain`, or as keyed hashes.
    #[must_use]
    pub fn new(claims: &[String], plain: bool) -> Self {
        let kept = claims.iter().map(|claim| KeptClaim {
            attribute: attribute(claim, plain).into(),
            claim: claim.clone(),
        });
        let mut claims: Vec<_> = kept.collect();
        claims.sort_unstable();
        Self { claims, plain }
    }

    /// What is kept of an `Authorization` field: attributes in the order of their names.
    #[must_use]
    pub fn of(&self, authorization: &str, hashes: &Fingerprints) -> Vec<(Arc<str>, String)> {
        if self.claims.is_empty() {
            return Vec::new();
        }
        let claims = payload(authorization).unwrap_or_default();
        let kept = self.claims.iter().filter_map(|kept| {
            let value = text(claims.get(&kept.claim)?)?;
            let shown = match self.plain {
                true => Some(value).filter(|value| value.len() <= LONGEST_CLAIM),
                false => Some(hash(&kept.claim, &value, hashes)),
            };
            Some((Arc::clone(&kept.attribute), shown?))
        });
        kept.collect()
    }
}

/// OpenTelemetry's name for a claim of OpenID Connect, where it has one for that form.
fn attribute(claim: &str, plain: bool) -> String {
    match (claim, plain) {
        ("sub", true) => "enduser.id".to_owned(),
        ("sub", false) => "enduser.pseudo.id".to_owned(),
        ("email", true) => "user.email".to_owned(),
        ("name", true) => "user.full_name".to_owned(),
        ("preferred_username", true) => "user.name".to_owned(),
        _ => format!("meshwitness.jwt.{claim}"),
    }
}

/// The claims of a token in the compact form of RFC 7515; none if it is no such token.
fn payload(authorization: &str) -> Option<Map<String, Value>> {
    const SCHEME: &str = "bearer ";
    let scheme = authorization.get(..SCHEME.len())?;
    let token = authorization[SCHEME.len()..].trim();
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let is_one = scheme.eq_ignore_ascii_case(SCHEME) && parts.next().is_none();
    if !is_one || payload.len() > LONGEST_PAYLOAD {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A claim as text: of a list or an object, its JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn hash(claim: &str, value: &str, hashes: &Fingerprints) -> String {
    hashes
        .of(&[claim.as_bytes(), b"\0", value.as_bytes()].concat())
        .to_hex()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::IdentityRedaction;
    use crate::record::Fingerprints;

    fn token(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (head, payload) = (part(&json!({"alg": "none"})), part(claims));
        format!("Bearer {head}.{payload}.c2ln")
    }

    fn kept(claims: &[&str], plain: bool, authorization: &str) -> Vec<(String, String)> {
        let claims: Vec<String> = claims.iter().map(|claim| (*claim).to_owned()).collect();
        let found =
            IdentityRedaction::new(&claims, plain).of(authorization, &Fingerprints::new(&[1; 16]));
        found
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn named_claims_are_kept_as_they_are() {
        let token = token(&json!({
            "sub": "alice", "email": "a@b.c", "groups": ["x", "y"], "level": 3, "other": "no",
            "nothing": null, "long": "x".repeat(300),
        }));
        let claims = [
            "sub", "level", "groups", "email", "nothing", "absent", "long",
        ];
        let expected = [
            pair("enduser.id", "alice"),
            pair("meshwitness.jwt.groups", "[\"x\",\"y\"]"),
            pair("meshwitness.jwt.level", "3"),
            pair("user.email", "a@b.c"),
        ];
        assert_eq!(kept(&claims, true, &token), expected);
        assert_eq!(kept(&[], true, &token), []);
    }

    #[test]
    fn hashes_tell_persons_apart() {
        let of = |sub: &str| kept(&["sub"], false, &token(&json!({ "sub": sub })));
        let alice = of("alice");
        assert_eq!(alice[0].0, "enduser.pseudo.id");
        assert_eq!(alice[0].1.len(), 32);
        assert_eq!(alice, of("alice"));
        assert_ne!(alice, of("bob"));
        // A name that another claim has is another thing.
        let email = kept(&["email"], false, &token(&json!({ "email": "alice" })));
        assert_eq!(email[0].0, "meshwitness.jwt.email");
        assert_ne!(email[0].1, alice[0].1);
    }

    #[test]
    fn what_is_no_token_has_no_claims() {
        let good = token(&json!({"sub": "alice"}));
        let large = token(&json!({"sub": "alice", "x": "x".repeat(16 << 10)}));
        for authorization in [
            "",
            "Bearer",
            "Bearer opaque",
            "Bearer a.b.c",
            "Bearer e30.e30",
            "Basic YWxpY2U6aHVudGVyMg==",
            "Beärer x",
            &good.replace("Bearer", "Token!"),
            &format!("{good}.more"),
            &good[..good.len() - 12],
            &large,
        ] {
            assert_eq!(kept(&["sub"], true, authorization), [], "{authorization}");
        }
        let lower = good.replace("Bearer ", "bearer   ");
        assert_eq!(kept(&["sub"], true, &lower), [pair("enduser.id", "alice")]);
    }
}

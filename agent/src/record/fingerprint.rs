//! Keyed hashes that stand in for values.

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hash128, SipHasher24};

/// A keyed hash of a value: two are equal exactly if the values were (to 1 in 2^128), and nobody
/// without the key learns the value by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(u64, u64);

impl Fingerprint {
    /// The fingerprint in hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:016x}{:016x}", self.0, self.1)
    }
}

/// Makes fingerprints under one key.
#[derive(Clone)]
pub struct Fingerprints(SipHasher24);

impl Fingerprints {
    /// Under this key; a new random one at each start.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The fingerprint of a value.
    #[must_use]
    pub fn of(&self, value: &[u8]) -> Fingerprint {
        let Hash128 { h1, h2 } = self.0.hash(value);
        Fingerprint(h1, h2)
    }
}

//! Certificates and keys, read alike for the sinks and for the collector.
//!
//! TLS 1.3 only, both sides prove who they are, and nothing switches either off.

mod credentials;
mod stamp;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

pub use credentials::{CredentialError, Identity, read_authorities};
pub use stamp::FileStamp;

/// The application protocol (RFC 7301) of a receiver that acknowledges what it has stored.
pub const ACKNOWLEDGING_PROTOCOL: &[u8] = b"meshwitness/1";

/// The cryptography of every connection; not the process default, which nobody has to install.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}

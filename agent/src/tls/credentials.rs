use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use thiserror::Error;
use x509_parser::parse_x509_certificate;

use super::provider;
use crate::timestamp::Timestamp;

/// A certificate chain and its private key: who we are to a peer.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What rustls presents to a peer, as a client or as a server.
    pub resolver: Arc<SingleCertAndKey>,
    /// When the leaf certificate ends (RFC 5280 section 4.1.2.5).
    pub not_after: Timestamp,
}

impl Identity {
    /// Reads a PEM chain, leaf first, and the PEM key that belongs to it.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, or a key of another certificate; each names the file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CredentialError> {
        let chain = read_certificates(certificate)?;
        let leaf = chain.first().ok_or_else(|| CredentialError::Empty {
            file: certificate.to_owned(),
        })?;
        let not_after = not_after(leaf).ok_or_else(|| CredentialError::Certificate {
            file: certificate.to_owned(),
            reason: "not an X.509 certificate".to_owned(),
        })?;
        let private =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| CredentialError::Key {
                file: key.to_owned(),
                reason: describe(&error),
            })?;
        let certified =
            CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => CredentialError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                },
                error => CredentialError::Key {
                    file: key.to_owned(),
                    reason: error.to_string(),
                },
            })?;
        Ok(Self {
            resolver: Arc::new(SingleCertAndKey::from(certified)),
            not_after,
        })
    }
}

/// Reads the certificates of the authorities that may vouch for a peer.
///
/// # Errors
/// A file that cannot be read, holds no certificate, or holds one that cannot be a trust anchor.
pub fn read_authorities(file: &Path) -> Result<Arc<RootCertStore>, CredentialError> {
    let mut authorities = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        authorities
            .add(certificate)
            .map_err(|error| CredentialError::Certificate {
                file: file.to_owned(),
                reason: error.to_string(),
            })?;
    }
    Ok(Arc::new(authorities))
}

/// Why certificates or keys could not be used.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; check the path and its permissions", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("{}: holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// A certificate cannot be parsed or used.
    #[error("{}: expected PEM certificates: {reason}", file.display())]
    Certificate {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key cannot be parsed or used.
    #[error("{}: expected an unencrypted PEM private key (PKCS#8, PKCS#1 or SEC1): {reason}", file.display())]
    Key {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is that of another certificate.
    #[error("{}: is not the key of the certificate in {}; was only one of the two renewed?", key.display(), certificate.display())]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CredentialError::Certificate {
            file: file.to_owned(),
            reason: describe(&error),
        })?;
    if certificates.is_empty() {
        return Err(CredentialError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(certificates)
}

fn read(file: &Path) -> Result<Vec<u8>, CredentialError> {
    fs::read(file).map_err(|source| CredentialError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = parse_x509_certificate(leaf).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some(Timestamp(seconds.saturating_mul(1_000_000_000)))
}

/// What is wrong with a PEM file, without quoting from it: it may be the file of the key.
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        pem::Error::NoItemsFound => "none found".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CredentialError, Identity, read_authorities};
    use crate::tls::testing::Authority;

    #[test]
    fn reads_what_belongs_together_and_tells_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let files = authority
            .issue(&["n1.mesh"])
            .write(directory.path(), "agent");
        let identity = Identity::read(&files.certificate, &files.key).unwrap();
        assert!(
            identity
                .not_after
                .to_string()
                .starts_with("2090-01-01T00:00:00")
        );
        assert_eq!(
            read_authorities(&authority.write(directory.path()))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn names_the_file_that_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let one = authority.issue(&["n1.mesh"]).write(directory.path(), "one");
        let two = authority.issue(&["n2.mesh"]).write(directory.path(), "two");
        let rubbish = directory.path().join("rubbish.pem");
        fs::write(&rubbish, "-----BEGIN PRIVATE KEY-----\nsecret\n").unwrap();

        let error = Identity::read(&one.certificate, &two.key).unwrap_err();
        assert!(matches!(error, CredentialError::Mismatch { .. }));
        let text = error.to_string();
        assert!(text.contains("one.crt") && text.contains("two.key"));

        let text = Identity::read(&one.certificate, &rubbish)
            .unwrap_err()
            .to_string();
        assert!(text.contains("rubbish.pem") && !text.contains("secret"));

        let text = read_authorities(&one.key).unwrap_err().to_string();
        assert!(text.contains("holds no certificate"));

        let text = read_authorities(&directory.path().join("absent"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("absent: cannot be read"));
    }
}

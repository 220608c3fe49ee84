//! The collector's side of TLS: who it is, and whom it lets in.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        StoresServerSessions, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use thiserror::Error;

use super::allow::Allow;
use crate::tls::{
    ACKNOWLEDGING_PROTOCOL, CredentialError, FileStamp, Identity, provider, read_authorities,
};

/// The files of the collector's TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The collector's chain, leaf first, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that may vouch for senders, PEM.
    pub client_ca: PathBuf,
}

/// The configuration of TLS, kept up with its files.
#[derive(Debug)]
pub(super) struct Credentials {
    tls: ServerTls,
    allow: Allow,
    config: Arc<ServerConfig>,
    stamps: Stamps,
}

type Stamps = [Option<FileStamp>; 3];

impl Credentials {
    pub(super) fn read(tls: ServerTls, allow: Allow) -> Result<Self, TlsError> {
        let stamps = stamps(&tls);
        let config = read_config(&tls, &allow)?;
        Ok(Self {
            tls,
            allow,
            config,
            stamps,
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the files again if they have changed. True: they have, and are in use.
    ///
    /// # Errors
    /// They have changed into something that cannot be used; what was in use stays. Told once.
    pub(super) fn refresh(&mut self) -> Result<bool, TlsError> {
        let now = stamps(&self.tls);
        if now == self.stamps {
            return Ok(false);
        }
        self.stamps = now;
        self.config = read_config(&self.tls, &self.allow)?;
        Ok(true)
    }
}

/// Why the collector cannot speak TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}; check `tls.client_ca`")]
    Setup(String),
}

fn read_config(tls: &ServerTls, allow: &Allow) -> Result<Arc<ServerConfig>, TlsError> {
    let identity = Identity::read(&tls.cert, &tls.key)?;
    let authorities = read_authorities(&tls.client_ca)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider())
        .build()
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_client_cert_verifier(Arc::new(AllowedSenders {
            verifier,
            allow: allow.clone(),
        }))
        .with_cert_resolver(identity.resolver);
    config.alpn_protocols = vec![ACKNOWLEDGING_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(TicketsThatResumeNothing);
    Ok(Arc::new(config))
}

fn stamps(tls: &ServerTls) -> Stamps {
    [&tls.cert, &tls.key, &tls.client_ca].map(|file| FileStamp::of(file))
}

/// Lets in a certificate that a trusted authority has issued and whose name `allow` has; within
/// the handshake, so that the sender learns it from the alert `access_denied`.
#[derive(Debug)]
struct AllowedSenders {
    verifier: Arc<dyn ClientCertVerifier>,
    allow: Allow,
}

impl ClientCertVerifier for AllowedSenders {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(leaf, intermediates, now)?;
        match self.allow.sender(leaf) {
            Ok(_) => Ok(verified),
            Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// A sender learns from a session ticket that its certificate was accepted. Nothing is resumed:
/// a resumed session would not look at the certificate again.
#[derive(Debug)]
struct TicketsThatResumeNothing;

impl StoresServerSessions for TicketsThatResumeNothing {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

//! Why a connection to a receiver could not be made or did not last, and what to check.

use std::{io, path::PathBuf, time::Duration};

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use super::{ack::AckError, queue::NotGiven};
use crate::tls::CredentialError;

/// Why a sink is not connected.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// Our own certificate, key or authorities cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The endpoint's name has no address.
    #[error("the endpoint's name cannot be resolved: {0}; check `endpoint` and the resolver")]
    Resolve(#[source] io::Error),
    /// Nobody accepts TCP connections there.
    #[error(
        "no TCP connection: {0}; is the receiver running, does a network policy allow its port?"
    )]
    Unreachable(#[source] io::Error),
    /// The other end is slower than any that works.
    #[error("no {step} within {} s", limit.as_secs_f32())]
    TimedOut {
        /// What did not happen.
        step: &'static str,
        /// How long was waited for it.
        limit: Duration,
    },
    /// The peer does not want our certificate.
    #[error("the receiver refused our client certificate {} ({}); check that it has not expired and that the receiver trusts its issuer and allows its names", certificate.display(), alert_name(*alert))]
    Refused {
        /// The file of our certificate.
        certificate: PathBuf,
        /// The reason that the peer gave.
        alert: AlertDescription,
    },
    /// We do not want the peer's certificate.
    #[error("the receiver's certificate failed our check: {reason}; nothing was sent")]
    Untrusted {
        /// What is wrong with it, and what to check.
        reason: String,
    },
    /// The peer speaks no TLS 1.3.
    #[error(
        "the receiver does not speak TLS 1.3 ({0}), which is required; check that the port is the TLS port and that TLS 1.3 is enabled there"
    )]
    NotTls13(String),
    /// Another failure of TLS.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
    /// The peer went before it accepted our certificate.
    #[error("the receiver closed the connection before it had accepted our client certificate {}; its log tells why", certificate.display())]
    ClosedUnproven {
        /// The file of our certificate.
        certificate: PathBuf,
    },
    /// The peer closed an accepted connection.
    #[error("the receiver closed the connection; its log may tell why")]
    Closed,
    /// The network lost an accepted connection.
    #[error("the connection was lost: {0}")]
    Lost(#[source] io::Error),
    /// The peer's answer is no acknowledgement.
    #[error(transparent)]
    Answer(#[from] AckError),
    /// The peer acknowledged what it was not sent.
    #[error(transparent)]
    NotGiven(#[from] NotGiven),
}

impl ConnectionError {
    /// Tells from a stream's error who did not want whom. `proven`: the peer had accepted us;
    /// `certificate`: the file of ours.
    pub(super) fn from_stream(error: io::Error, proven: bool, certificate: PathBuf) -> Self {
        if let Some(error) = tls_error(&error) {
            return Self::from_tls(error, certificate);
        }
        match error.kind() {
            // Without close_notify: cut off, by whomever.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
                if !proven =>
            {
                Self::ClosedUnproven { certificate }
            }
            _ => Self::Lost(error),
        }
    }

    fn from_tls(error: &rustls::Error, certificate: PathBuf) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) if speaks_of_certificate(*alert) => Self::Refused {
                certificate,
                alert: *alert,
            },
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
                Self::NotTls13("it answered with the alert protocol_version".to_owned())
            }
            rustls::Error::PeerIncompatible(incompatible) => {
                Self::NotTls13(format!("{incompatible:?}"))
            }
            rustls::Error::InvalidMessage(_) => Self::NotTls13("its answer is not TLS".to_owned()),
            rustls::Error::InvalidCertificate(error) => Self::Untrusted {
                reason: describe(error),
            },
            error => Self::Tls(error.clone()),
        }
    }
}

/// Whether the peer has ALPN, and not our protocol in it (RFC 7301 section 3.2).
pub(super) fn refuses_protocol(error: &io::Error) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::AlertReceived(
            AlertDescription::NoApplicationProtocol
        ))
    )
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The alerts by which a server refuses a client's certificate (RFC 8446 section 6.2).
fn speaks_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

/// The name as RFC 8446 section 6 writes it, which is what the receiver's log has too.
fn alert_name(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::CertificateRequired => "certificate_required",
        _ => "another alert",
    }
}

fn describe(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "expected a certificate for `{}`, got one for {presented:?}; check `endpoint` and `tls.server_name`",
            expected.to_str()
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority in `tls.ca` has issued it; check `tls.ca` and that the receiver sends its intermediate certificates".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{error}; renew it, or check this node's clock")
        }
        error => error.to_string(),
    }
}

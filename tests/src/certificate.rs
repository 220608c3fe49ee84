//! Certificate authorities and what they sign.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd, string::Ia5String,
};

/// A name in a certificate.
#[derive(Clone, Debug)]
pub enum Name {
    /// A host name.
    Dns(String),
    /// An address.
    Address(IpAddr),
    /// A URI: the SPIFFE identity of a workload.
    Uri(String),
}

/// When a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now, and for as long as any lab lives.
    Current,
    /// It ended years ago.
    Expired,
}

/// Where a certificate and its key are. Both are PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, readable to all: every user of a lab runs on this machine.
    pub key: PathBuf,
}

/// An authority that was born with the lab.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    certificate: PathBuf,
}

impl Authority {
    /// A new one, whose files lie in `directory`.
    ///
    /// # Errors
    ///
    /// If a key cannot be made or a file cannot be written.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let certificate = directory.join("ca.pem");
        write(&certificate, &issuer.pem())?;
        Ok(Self {
            issuer,
            directory: directory.to_path_buf(),
            certificate,
        })
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Signs a certificate for client and server use; `file` names its files.
    ///
    /// # Errors
    ///
    /// If a name does not fit a certificate or a file cannot be written.
    pub fn issue(&self, file: &str, names: &[Name], validity: Validity) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, file);
        params.subject_alt_names = names.iter().map(subject_name).collect::<Result<_>>()?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.pem")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&identity.certificate, &certificate.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn subject_name(name: &Name) -> Result<SanType> {
    Ok(match name {
        Name::Dns(host) => SanType::DnsName(Ia5String::try_from(host.clone())?),
        Name::Uri(uri) => SanType::URI(Ia5String::try_from(uri.clone())?),
        Name::Address(address) => SanType::IpAddress(*address),
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

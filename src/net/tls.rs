//! TLS both ways, by native-tls: trust, identities, versions, and errors that name the remedy.
//!
//! Owns reading of PEM and PKCS#12 files. Keys native-tls cannot read itself (PKCS#1, SEC1,
//! encrypted) are converted by OpenSSL where native-tls is OpenSSL.

use std::path::{Path, PathBuf};

use native_tls::{Certificate, Identity, Protocol, TlsAcceptor, TlsConnector};

use super::connection::io_text;
use super::transport::Transport;

/// Lowest version spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246)
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446)
    V1_3,
}

impl TlsVersion {
    fn protocol(self) -> Protocol {
        match self {
            Self::V1_2 => Protocol::Tlsv12,
            Self::V1_3 => Protocol::Tlsv13,
        }
    }
}

/// What kind of failure it was, for the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsErrorKind {
    /// Nobody trusted signed the certificate.
    Untrusted,
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is out of date.
    Expired,
    /// Anything else.
    Other,
}

/// TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS: {text}")]
pub struct TlsError {
    kind: TlsErrorKind,
    text: String,
}

impl TlsError {
    fn other(text: impl Into<String>) -> Self {
        Self { kind: TlsErrorKind::Other, text: text.into() }
    }

    fn of_file(path: &Path, what: &str, why: &str) -> Self {
        Self::other(format!("{what} {}: {why}", path.display()))
    }

    fn of_handshake(error: &native_tls::Error) -> Self {
        let text = error.to_string();
        let lower = text.to_ascii_lowercase();
        let kind = if lower.contains("hostname mismatch") || lower.contains("ip address mismatch") {
            TlsErrorKind::NameMismatch
        } else if lower.contains("has expired") || lower.contains("not yet valid") {
            TlsErrorKind::Expired
        } else if lower.contains("certificate verify failed") || lower.contains("self-signed") {
            TlsErrorKind::Untrusted
        } else {
            TlsErrorKind::Other
        };
        Self { kind, text: shorten(&text) }
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> TlsErrorKind {
        self.kind
    }
}

/// OpenSSL's error lines carry source files and numbers a user has no use for.
fn shorten(text: &str) -> String {
    let reason = text.rsplit_once(" (").filter(|(_, reason)| reason.ends_with(')'));
    let reason = reason.map(|(_, reason)| reason.trim_end_matches(')').to_owned());
    let routine = text.split(':').nth(3).filter(|_| text.starts_with("error:"));
    let last = text.split(':').nth(4).filter(|_| text.starts_with("error:"));
    match (last.or(routine), reason) {
        (Some(what), Some(reason)) => format!("{}: {reason}", what.trim()),
        (Some(what), None) => what.trim().to_owned(),
        (None, _) => text.to_owned(),
    }
}

/// What a client trusts and shows.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// Accept any certificate for any name.
    pub insecure: bool,
    /// Trust these, and no others.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub cert: Option<PathBuf>,
    /// Its key; `None` looks into the certificate's file.
    pub key: Option<PathBuf>,
    /// Passphrase of the key or PKCS#12 file.
    pub passphrase: Option<String>,
    /// Client certificate and key in one.
    pub pkcs12: Option<PathBuf>,
    /// Lowest version.
    pub min: TlsVersion,
    /// Name to ask for and check in place of the host's.
    pub sni: Option<String>,
}

impl ClientTls {
    /// Whether there are files to be read.
    pub fn names_files(&self) -> bool {
        self.ca_file.is_some() || self.cert.is_some() || self.key.is_some() || self.pkcs12.is_some()
    }

    /// The same trust and versions for another peer on the way: no identity, no name in place of its own.
    #[must_use]
    pub fn without_identity(&self) -> Self {
        Self { cert: None, key: None, pkcs12: None, passphrase: None, sni: None, ..self.clone() }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub fn build(&self) -> Result<ClientConnector, TlsError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(self.min.protocol()));
        builder.danger_accept_invalid_certs(self.insecure);
        builder.danger_accept_invalid_hostnames(self.insecure);
        if let Some(path) = &self.ca_file {
            let pem = read(path, "CA file")?;
            let certificates = Certificate::stack_from_pem(&pem)
                .map_err(|error| TlsError::of_file(path, "CA file", &shorten(&error.to_string())))?;
            if certificates.is_empty() {
                return Err(TlsError::of_file(path, "CA file", "holds no PEM certificate"));
            }
            builder.disable_built_in_roots(true);
            for certificate in certificates {
                builder.add_root_certificate(certificate);
            }
        }
        if let Some(identity) = self.identity()? {
            builder.identity(identity);
        }
        let connector = builder.build().map_err(|error| TlsError::other(shorten(&error.to_string())))?;
        Ok(ClientConnector { connector: connector.into(), sni: self.sni.clone() })
    }

    fn identity(&self) -> Result<Option<Identity>, TlsError> {
        if let Some(path) = &self.pkcs12 {
            let der = read(path, "PKCS#12 file")?;
            let passphrase = self.passphrase.as_deref().unwrap_or_default();
            return Identity::from_pkcs12(&der, passphrase)
                .map(Some)
                .map_err(|error| TlsError::of_file(path, "PKCS#12 file", &shorten(&error.to_string())));
        }
        match (&self.cert, &self.key) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(TlsError::other("--key needs --cert")),
            (Some(cert), key) => {
                let key = key.as_ref().unwrap_or(cert);
                identity(cert, key, self.passphrase.as_deref()).map(Some)
            }
        }
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::of_file(path, what, &io_text(&error)))
}

fn identity(cert: &Path, key: &Path, passphrase: Option<&str>) -> Result<Identity, TlsError> {
    let chain = read(cert, "certificate")?;
    let pem = read(key, "key")?;
    let pkcs8 = to_pkcs8(&pem, passphrase).map_err(|reason| TlsError::of_file(key, "key", &reason))?;
    Identity::from_pkcs8(&chain, &pkcs8)
        .map_err(|error| TlsError::of_file(cert, "certificate", &shorten(&error.to_string())))
}

/// The key as unencrypted PKCS#8 PEM.
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
fn to_pkcs8(pem: &[u8], passphrase: Option<&str>) -> Result<Vec<u8>, String> {
    use openssl::pkey::PKey;
    let is_encrypted = memchr::memmem::find(pem, b"ENCRYPTED").is_some();
    if is_encrypted && passphrase.is_none() {
        return Err("it is encrypted; --passphrase-env VAR names its passphrase".to_owned());
    }
    let wrong = if is_encrypted { "the passphrase does not open it" } else { "holds no private key in PEM" };
    PKey::private_key_from_pem_passphrase(pem, passphrase.unwrap_or_default().as_bytes())
        .and_then(|key| key.private_key_to_pem_pkcs8())
        .map_err(|_| wrong.to_owned())
}

/// The key as it is: it must be unencrypted PKCS#8 PEM already.
#[cfg(any(target_os = "macos", target_os = "windows"))]
fn to_pkcs8(pem: &[u8], _passphrase: Option<&str>) -> Result<Vec<u8>, String> {
    match memchr::memmem::find(pem, b"-----BEGIN PRIVATE KEY-----") {
        Some(_) => Ok(pem.to_vec()),
        None => Err("it must be an unencrypted PKCS#8 key in PEM".to_owned()),
    }
}

/// Does client handshakes, as many as asked.
#[derive(Debug, Clone)]
pub struct ClientConnector {
    connector: tokio_native_tls::TlsConnector,
    sni: Option<String>,
}

impl ClientConnector {
    /// Makes the byte stream to `host` a secure one.
    ///
    /// # Errors
    /// [`TlsError`], with the kind of failure for the hint.
    pub async fn handshake(&self, host: &str, transport: Transport) -> Result<Transport, TlsError> {
        let name = self.sni.as_deref().unwrap_or(host);
        let stream = self.connector.connect(name, transport).await.map_err(|error| TlsError::of_handshake(&error))?;
        Ok(Transport::Tls(Box::new(stream)))
    }
}

/// Does server handshakes.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: tokio_native_tls::TlsAcceptor,
}

impl ServerTls {
    /// From PEM files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub fn from_files(cert: &Path, key: &Path, min: TlsVersion) -> Result<Self, TlsError> {
        Self::new(identity(cert, key, None)?, min)
    }

    /// From a chain and a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8], min: TlsVersion) -> Result<Self, TlsError> {
        let identity =
            Identity::from_pkcs8(chain, key).map_err(|error| TlsError::other(shorten(&error.to_string())))?;
        Self::new(identity, min)
    }

    fn new(identity: Identity, min: TlsVersion) -> Result<Self, TlsError> {
        // native-tls sets OpenSSL servers up without TLS 1.3, and has no way to ask for it.
        if min == TlsVersion::V1_3 && cfg!(not(any(target_os = "macos", target_os = "windows"))) {
            return Err(TlsError::other("this build serves TLS 1.2 at most, so --tls-min 1.3 would let nobody in"));
        }
        let acceptor = TlsAcceptor::builder(identity)
            .min_protocol_version(Some(min.protocol()))
            .build()
            .map_err(|error| TlsError::other(shorten(&error.to_string())))?;
        Ok(Self { acceptor: acceptor.into() })
    }

    /// Makes a fresh byte stream a secure one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn accept(&self, transport: Transport) -> Result<Transport, TlsError> {
        let stream = self.acceptor.accept(transport).await.map_err(|error| TlsError::of_handshake(&error))?;
        Ok(Transport::Tls(Box::new(stream)))
    }
}

/// Subject, issuer and expiry of the peer's certificate.
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
pub(crate) fn describe<S: std::io::Read + std::io::Write>(stream: &native_tls::TlsStream<S>) -> Vec<String> {
    use openssl::x509::{X509, X509NameRef};
    fn names(name: &X509NameRef) -> String {
        let entries = name.entries().map(|entry| {
            let key = entry.object().nid().short_name().unwrap_or("?");
            let value = entry.data().to_string().unwrap_or_default();
            format!("{key}={value}")
        });
        entries.collect::<Vec<_>>().join(", ")
    }
    let Some(certificate) = stream.peer_certificate().ok().flatten() else { return Vec::new() };
    let Some(x509) = certificate.to_der().ok().and_then(|der| X509::from_der(&der).ok()) else { return Vec::new() };
    vec![
        format!("certificate: {}", names(x509.subject_name())),
        format!("issued by: {}", names(x509.issuer_name())),
        format!("valid until: {}", x509.not_after()),
    ]
}

/// Not told apart here: the system's TLS library has no way to ask.
#[cfg(any(target_os = "macos", target_os = "windows"))]
pub(crate) fn describe<S: std::io::Read + std::io::Write>(_stream: &native_tls::TlsStream<S>) -> Vec<String> {
    Vec::new()
}

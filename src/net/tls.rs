//! TLS both ways: trust, identities, versions, and errors that name the remedy.
//!
//! native-tls does the handshakes, except where it is OpenSSL, which is then spoken to directly (see
//! `client_openssl` and `server_openssl`). Files are read by `identity`. Invariant: nothing above this file
//! knows which library it is.

#[cfg(target_os = "macos")]
#[path = "tls/client_native.rs"]
mod client;
#[cfg(not(target_os = "macos"))]
#[path = "tls/client_openssl.rs"]
mod client;
mod identity;
#[cfg(not(target_os = "macos"))]
mod pkcs12_mac;
#[cfg(target_os = "macos")]
#[path = "tls/server_native.rs"]
mod server;
#[cfg(not(target_os = "macos"))]
#[path = "tls/server_openssl.rs"]
mod server;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::message::io_text::io_text;
pub(crate) use client::ClientConnector;
pub(crate) use client::{ClientStream, describe, is_resumed, library};
use identity::PemIdentity;
#[cfg(not(target_os = "macos"))]
use identity::ShownBy;
pub(crate) use server::ServerTls;
pub(crate) use server::{ServerStream, subject};

/// Lowest version spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TlsVersion {
    /// TLS 1.2 (RFC 5246)
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446)
    V1_3,
}

#[cfg(target_os = "macos")]
impl TlsVersion {
    fn protocol(self) -> native_tls::Protocol {
        match self {
            Self::V1_2 => native_tls::Protocol::Tlsv12,
            Self::V1_3 => native_tls::Protocol::Tlsv13,
        }
    }
}

/// What kind of failure it was, for the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsErrorKind {
    Untrusted,
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is out of date.
    Expired,
    /// The server wants a client certificate.
    CertificateWanted,
    /// A file is encrypted, and its passphrase is missing or wrong.
    Passphrase,
    /// The same of trusted certificates.
    TrustPassphrase,
    /// A key is encrypted in a way the TLS library no longer knows.
    OldKey,
    /// The same of a PKCS#12 file.
    OldPkcs12,
    /// A key is in a format of Java's own.
    JavaStore,
    /// Trusted certificates are in a format of Java's own.
    JavaTrust,
    /// The peer speaks no TLS.
    NotTls,
    /// The peer closed the connection in place of a handshake.
    HungUp,
    Other,
}

/// OpenSSL's words for an answer that is not TLS: what stands where the version would, or the length.
const NOT_TLS: [&str; 3] = ["wrong version number", "packet length too long", "unknown protocol"];

/// TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS: {text}")]
pub struct TlsError {
    kind: TlsErrorKind,
    text: String,
    presented: Vec<String>,
}

impl TlsError {
    fn other(text: impl Into<String>) -> Self {
        Self { kind: TlsErrorKind::Other, text: text.into(), presented: Vec::new() }
    }

    fn of_file(path: &Path, what: &str, why: &str) -> Self {
        Self::other(format!("{what} {}: {why}", path.display()))
    }

    /// From what the TLS library says.
    pub(crate) fn of_text(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let kind = if lower.contains("hostname mismatch") || lower.contains("ip address mismatch") {
            TlsErrorKind::NameMismatch
        } else if lower.contains("has expired") || lower.contains("not yet valid") {
            TlsErrorKind::Expired
        } else if lower.contains("certificate verify failed") || lower.contains("self-signed") {
            TlsErrorKind::Untrusted
        } else if lower.contains("alert certificate required") {
            TlsErrorKind::CertificateWanted
        } else if NOT_TLS.iter().any(|words| lower.contains(words)) {
            return Self { kind: TlsErrorKind::NotTls, ..Self::other("the server does not speak TLS") };
        } else {
            TlsErrorKind::Other
        };
        Self { kind, text: shorten(text), presented: Vec::new() }
    }

    /// From a text that holds the TLS library's words for an alert of the peer's: with TLS 1.3 the
    /// server's no to a client certificate comes after the handshake.
    pub(crate) fn of_alert(text: &str) -> Option<Self> {
        let words = &text[text.find("error:")?..];
        words.contains("SSL alert number").then(|| Self::of_text(words))
    }

    /// Facts about the certificates that were not accepted.
    #[must_use]
    pub fn presented(&self) -> &[String] {
        &self.presented
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

/// What a server asks of its clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerDemands {
    pub min: TlsVersion,
    /// They must show a certificate signed by one of these.
    pub client_ca: Option<PathBuf>,
    /// Opens that file, where it is an encrypted PKCS#12 file.
    pub client_ca_passphrase: Option<String>,
}

/// Where a server's certificate and key are.
#[derive(Clone)]
pub(crate) struct ServerIdentity {
    pub files: IdentityFiles,
    /// Opens the key or the PKCS#12 file, where it is encrypted.
    pub passphrase: Option<String>,
}

/// Files that hold a certificate, its chain and its key.
#[derive(Debug, Clone)]
pub(crate) enum IdentityFiles {
    Pem {
        cert: PathBuf,
        key: PathBuf,
    },
    /// All in one, as PKCS#12.
    Pkcs12(PathBuf),
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl ServerIdentity {
    /// The file that names it.
    fn path(&self) -> &Path {
        match &self.files {
            IdentityFiles::Pem { cert, .. } => cert,
            IdentityFiles::Pkcs12(path) => path,
        }
    }

    fn read(&self) -> Result<PemIdentity, TlsError> {
        let passphrase = self.passphrase.as_deref();
        match &self.files {
            IdentityFiles::Pem { cert, key } => identity::from_pem_files(cert, key, passphrase),
            #[cfg(not(target_os = "macos"))]
            IdentityFiles::Pkcs12(path) => identity::from_pkcs12_file(path, passphrase, ShownBy::Server),
            #[cfg(target_os = "macos")]
            IdentityFiles::Pkcs12(path) => Err(TlsError::of_file(path, "PKCS#12 file", "use --tls-cert and --tls-key")),
        }
    }
}

/// A client certificate in PEM.
pub(crate) struct Pem {
    /// The certificate and its chain.
    pub chain: Vec<u8>,
    /// Its key, unencrypted PKCS#8.
    pub key: Vec<u8>,
}

/// What a client trusts and shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientTls {
    /// Accept any certificate for any name.
    pub insecure: bool,
    /// Trust these, and no others.
    pub ca_file: Option<PathBuf>,
    /// Opens that file, where it is an encrypted PKCS#12 file.
    pub ca_passphrase: Option<String>,
    pub cert: Option<PathBuf>,
    /// Its key; `None` looks into the certificate's file.
    pub key: Option<PathBuf>,
    /// Passphrase of the key or PKCS#12 file.
    pub passphrase: Option<String>,
    /// Client certificate and key in one.
    pub pkcs12: Option<PathBuf>,
    pub min: TlsVersion,
    /// Name to ask for and check in place of the host's.
    pub sni: Option<String>,
    /// Offer the session of an earlier connection (RFC 8446, section 2.2; RFC 5077).
    pub resume: bool,
}

impl ClientTls {
    /// Whether there are files to be read.
    pub(crate) fn names_files(&self) -> bool {
        self.ca_file.is_some() || self.cert.is_some() || self.key.is_some() || self.pkcs12.is_some()
    }

    /// The same trust and versions for another peer on the way: no identity, no name in place of its own.
    #[must_use]
    pub(crate) fn without_identity(&self) -> Self {
        Self { cert: None, key: None, pkcs12: None, passphrase: None, sni: None, ..self.clone() }
    }

    /// The client certificate, for libraries with a TLS of their own.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn identity(&self) -> Result<Option<Pem>, TlsError> {
        let passphrase = self.passphrase.as_deref();
        let pem = match (&self.pkcs12, &self.cert) {
            #[cfg(not(target_os = "macos"))]
            (Some(path), _) => identity::from_pkcs12_file(path, passphrase, ShownBy::Client)?,
            #[cfg(target_os = "macos")]
            (Some(path), _) => return Err(TlsError::of_file(path, "PKCS#12 file", "use --cert and --key")),
            (None, Some(cert)) => identity::from_pem_files(cert, self.key.as_deref().unwrap_or(cert), passphrase)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Pem { chain: pem.chain, key: pem.key }))
    }

    /// The trusted certificates in PEM, for libraries with a TLS of their own.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn authorities(&self) -> Result<Option<Vec<u8>>, TlsError> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        #[cfg(not(target_os = "macos"))]
        let pem = identity::authorities_pem(path, "CA file", self.ca_passphrase.as_deref())?;
        #[cfg(target_os = "macos")]
        let pem = read(path, "CA file")?;
        Ok(Some(pem))
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn build(&self) -> Result<ClientConnector, TlsError> {
        client::build(self)
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::of_file(path, what, &io_text(&error)))
}

/// The identity as native-tls wants it.
#[cfg(target_os = "macos")]
fn native_identity(pem: &PemIdentity) -> Result<native_tls::Identity, TlsError> {
    native_tls::Identity::from_pkcs8(&pem.chain, &pem.key).map_err(|error| TlsError::other(shorten(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openssl_says_is_shortened_and_sorted() {
        let table = [
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:../a.c:1: \
                 (self-signed certificate)",
                "TLS: certificate verify failed: self-signed certificate",
                TlsErrorKind::Untrusted,
            ),
            (
                "error:0A000086:SSL routines:f:certificate verify failed:../a.c:1: (hostname mismatch)",
                "TLS: certificate verify failed: hostname mismatch",
                TlsErrorKind::NameMismatch,
            ),
            (
                "error:0A000086:SSL routines:f:certificate verify failed:../a.c:1: (certificate has expired)",
                "TLS: certificate verify failed: certificate has expired",
                TlsErrorKind::Expired,
            ),
            (
                "error:0A00045C:SSL routines:f:tlsv13 alert certificate required:../a.c:1:SSL alert number 116",
                "TLS: tlsv13 alert certificate required",
                TlsErrorKind::CertificateWanted,
            ),
            ("connection reset", "TLS: connection reset", TlsErrorKind::Other),
            (
                "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../a.c:1:",
                "TLS: the server does not speak TLS",
                TlsErrorKind::NotTls,
            ),
        ];
        for (text, shown, kind) in table {
            let error = TlsError::of_text(text);
            assert_eq!((error.to_string().as_str(), error.kind()), (shown, kind));
        }
    }

    #[test]
    fn an_alert_is_found_in_what_surrounds_it() {
        let alert = "error:0A00045C:SSL routines:f:tlsv13 alert certificate required:../a.c:1:SSL alert number 116";
        let found = TlsError::of_alert(&format!("no answer: {alert}")).expect("an alert");
        assert_eq!(found.kind(), TlsErrorKind::CertificateWanted);
        assert_eq!(TlsError::of_alert("no answer: connection reset"), None);
        assert_eq!(TlsError::of_alert("error:0A000126:SSL routines:f:unexpected eof while reading:../a.c:1:"), None);
    }
}

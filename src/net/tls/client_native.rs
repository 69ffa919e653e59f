//! Client handshakes where the TLS library is the system's own, through native-tls.

use native_tls::{Certificate, Identity, TlsConnector};

use super::{ClientTls, TlsError, TlsErrorKind, identity, read, shorten};
use crate::net::transport::{Secure, Transport};

/// A client's side of TLS over any other byte stream.
pub(crate) type ClientStream = tokio_native_tls::TlsStream<Transport>;

/// Does client handshakes, as many as asked.
#[derive(Debug, Clone)]
pub struct ClientConnector {
    connector: tokio_native_tls::TlsConnector,
    sni: Option<String>,
}

/// Returns the name of the TLS library.
pub(crate) fn library() -> String {
    "Secure Transport".to_owned()
}

pub(super) fn build(tls: &ClientTls) -> Result<ClientConnector, TlsError> {
    if tls.resume {
        return Err(TlsError::other("the system's TLS library does not support session resumption"));
    }
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(tls.min.protocol()));
    builder.danger_accept_invalid_certs(tls.insecure);
    builder.danger_accept_invalid_hostnames(tls.insecure);
    if let Some(path) = &tls.ca_file {
        let certificates = Certificate::stack_from_pem(&read(path, "CA file")?)
            .map_err(|error| TlsError::of_file(path, "CA file", &shorten(&error.to_string())))?;
        if certificates.is_empty() {
            return Err(TlsError::of_file(path, "CA file", "contains no PEM certificate"));
        }
        builder.disable_built_in_roots(true);
        for certificate in certificates {
            builder.add_root_certificate(certificate);
        }
    }
    if let Some(identity) = client_identity(tls)? {
        builder.identity(identity);
    }
    let connector = builder.build().map_err(|error| TlsError::other(shorten(&error.to_string())))?;
    Ok(ClientConnector { connector: connector.into(), sni: tls.sni.clone() })
}

fn client_identity(tls: &ClientTls) -> Result<Option<Identity>, TlsError> {
    if let Some(path) = &tls.pkcs12 {
        let der = read(path, "PKCS#12 file")?;
        return Identity::from_pkcs12(&der, tls.passphrase.as_deref().unwrap_or_default()).map(Some).map_err(|error| {
            let error = TlsError::of_file(path, "PKCS#12 file", &shorten(&error.to_string()));
            TlsError { kind: TlsErrorKind::Passphrase, ..error }
        });
    }
    match (&tls.cert, &tls.key) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(TlsError::other("--key needs --cert")),
        (Some(cert), key) => {
            let key = key.as_ref().unwrap_or(cert);
            let pem = identity::from_pem_files(cert, key, tls.passphrase.as_deref())?;
            super::native_identity(&pem).map(Some)
        }
    }
}

impl ClientConnector {
    /// Makes the byte stream to `host` a secure one.
    ///
    /// # Errors
    /// [`TlsError`], with the kind of failure for the hint.
    pub async fn handshake(&self, host: &str, transport: Transport) -> Result<Transport, TlsError> {
        let name = self.sni.as_deref().unwrap_or(host);
        let stream =
            self.connector.connect(name, transport).await.map_err(|error| TlsError::of_text(&error.to_string()))?;
        Ok(Transport::ClientTls(Secure::new(Box::new(stream))))
    }
}

/// Nothing: the system's TLS library has no way to ask.
pub(crate) fn describe(_stream: &ClientStream) -> Vec<String> {
    Vec::new()
}

/// Never, as far as is known: the system's TLS library has no way to ask.
pub(crate) fn is_resumed(_stream: &ClientStream) -> bool {
    false
}

//! Server handshakes by native-tls, where that is the system's own library.

use native_tls::TlsAcceptor;

use super::identity::PemIdentity;
use super::{ServerDemands, ServerIdentity, TlsError, native_identity, shorten};
use crate::net::transport::{Secure, Transport};

/// A server's side of TLS over any other byte stream.
pub(crate) type ServerStream = tokio_native_tls::TlsStream<Transport>;

/// Does server handshakes.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: tokio_native_tls::TlsAcceptor,
}

impl ServerTls {
    /// From files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub fn from_files(identity: &ServerIdentity, demands: &ServerDemands) -> Result<Self, TlsError> {
        Self::new(&identity.read()?, demands)
    }

    /// From a chain and a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8], demands: &ServerDemands) -> Result<Self, TlsError> {
        Self::new(&PemIdentity { chain: chain.to_vec(), key: key.to_vec() }, demands)
    }

    fn new(pem: &PemIdentity, demands: &ServerDemands) -> Result<Self, TlsError> {
        if demands.client_ca.is_some() {
            return Err(TlsError::other("this system's TLS library does not support client certificates"));
        }
        let acceptor = TlsAcceptor::builder(native_identity(pem)?)
            .min_protocol_version(Some(demands.min.protocol()))
            .build()
            .map_err(|error| TlsError::other(shorten(&error.to_string())))?;
        Ok(Self { acceptor: acceptor.into() })
    }

    /// Makes a fresh byte stream a secure one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn accept(&self, transport: Transport) -> Result<Transport, TlsError> {
        let stream = self.acceptor.accept(transport).await.map_err(|error| TlsError::of_text(&error.to_string()))?;
        Ok(Transport::Tls(Secure::new(Box::new(stream))))
    }
}

/// Nothing: clients are not asked for certificates.
pub(crate) fn subject(_stream: &ServerStream) -> Option<String> {
    None
}

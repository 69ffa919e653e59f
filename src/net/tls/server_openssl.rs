//! Server handshakes where the TLS library is OpenSSL, through the openssl crate itself: native-tls
//! sets its servers up without TLS 1.3.

use std::path::Path;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;
use tokio_openssl::SslStream;

use super::identity::{self, PemIdentity};
use super::{TlsError, TlsVersion, shorten};
use crate::net::transport::Transport;

/// A server's side of TLS over any other byte stream.
pub(crate) type ServerStream = SslStream<Transport>;

/// Does server handshakes.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: SslAcceptor,
}

fn reason(errors: &ErrorStack) -> String {
    shorten(&errors.to_string())
}

impl ServerTls {
    /// From PEM files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub fn from_files(cert: &Path, key: &Path, min: TlsVersion) -> Result<Self, TlsError> {
        Self::build(&identity::from_pem_files(cert, key, None)?, min)
            .map_err(|reason| TlsError::of_file(cert, "certificate", &reason))
    }

    /// From a chain and a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8], min: TlsVersion) -> Result<Self, TlsError> {
        let pem = PemIdentity { chain: chain.to_vec(), key: key.to_vec() };
        Self::build(&pem, min).map_err(TlsError::other)
    }

    fn build(pem: &PemIdentity, min: TlsVersion) -> Result<Self, String> {
        let mut certificates = X509::stack_from_pem(&pem.chain).map_err(|errors| reason(&errors))?.into_iter();
        let Some(leaf) = certificates.next() else { return Err("holds no PEM certificate".to_owned()) };
        let key = PKey::private_key_from_pem(&pem.key).map_err(|errors| reason(&errors))?;
        if !leaf.public_key().is_ok_and(|public| public.public_eq(&key)) {
            return Err("the key belongs to another certificate".to_owned());
        }
        let lowest = match min {
            TlsVersion::V1_2 => SslVersion::TLS1_2,
            TlsVersion::V1_3 => SslVersion::TLS1_3,
        };
        let build = || {
            // Mozilla's intermediate configuration, version 5: TLS 1.2 and 1.3.
            let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
            builder.set_min_proto_version(Some(lowest))?;
            builder.set_certificate(&leaf)?;
            for certificate in certificates {
                builder.add_extra_chain_cert(certificate)?;
            }
            builder.set_private_key(&key)?;
            Ok(Self { acceptor: builder.build() })
        };
        build().map_err(|errors: ErrorStack| reason(&errors))
    }

    /// Makes a fresh byte stream a secure one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn accept(&self, transport: Transport) -> Result<Transport, TlsError> {
        let failed = |errors: &ErrorStack| TlsError::of_text(&errors.to_string());
        let ssl = Ssl::new(self.acceptor.context()).map_err(|errors| failed(&errors))?;
        let mut stream = Box::new(SslStream::new(ssl, transport).map_err(|errors| failed(&errors))?);
        let accepted = Pin::new(&mut *stream).accept().await;
        accepted.map_err(|error| TlsError::of_text(&error.to_string()))?;
        Ok(Transport::Tls(stream))
    }
}

//! Server handshakes where the TLS library is OpenSSL, through the openssl crate itself: native-tls
//! sets its servers up without TLS 1.3.

use std::pin::Pin;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{self, Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslRef, SslVerifyMode, SslVersion};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509VerifyResult};
use tokio_openssl::SslStream;

use super::client::names;
use super::identity::{PemIdentity, authorities};
use super::{ServerDemands, ServerIdentity, TlsError, TlsVersion, shorten};
use crate::message::io_text::io_text;
use crate::net::transport::{Secure, Transport};

/// How long to wait for a client that was turned away to take notice, and the most that is read of it meanwhile.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// A server's side of TLS over any other byte stream.
pub(crate) type ServerStream = SslStream<Transport>;

/// Does server handshakes.
#[derive(Clone)]
pub(crate) struct ServerTls {
    acceptor: SslAcceptor,
}

fn reason(errors: &ErrorStack) -> String {
    shorten(&errors.to_string())
}

impl ServerTls {
    /// From files.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn from_files(identity: &ServerIdentity, demands: &ServerDemands) -> Result<Self, TlsError> {
        let builder = Self::builder(&identity.read()?, demands.min)
            .map_err(|reason| TlsError::of_file(identity.path(), "certificate", &reason))?;
        Self::build(builder, demands)
    }

    /// From a chain and a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// What cannot be used.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8], demands: &ServerDemands) -> Result<Self, TlsError> {
        let pem = PemIdentity { chain: chain.to_vec(), key: key.to_vec() };
        Self::build(Self::builder(&pem, demands.min).map_err(TlsError::other)?, demands)
    }

    fn build(mut builder: SslAcceptorBuilder, demands: &ServerDemands) -> Result<Self, TlsError> {
        if let Some(path) = &demands.client_ca {
            let passphrase = demands.client_ca_passphrase.as_deref();
            let of_file = |errors: ErrorStack| TlsError::of_file(path, "client CA file", &reason(&errors));
            ask_for_certificates(&mut builder, authorities(path, "client CA file", passphrase)?).map_err(of_file)?;
        }
        Ok(Self { acceptor: builder.build() })
    }

    fn builder(pem: &PemIdentity, min: TlsVersion) -> Result<SslAcceptorBuilder, String> {
        let mut certificates = X509::stack_from_pem(&pem.chain).map_err(|errors| reason(&errors))?.into_iter();
        let Some(leaf) = certificates.next() else { return Err("contains no PEM certificate".to_owned()) };
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
            Ok(builder)
        };
        build().map_err(|errors: ErrorStack| reason(&errors))
    }

    /// Makes a fresh byte stream a secure one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) async fn accept(&self, transport: Transport) -> Result<Transport, TlsError> {
        let failed = |errors: &ErrorStack| TlsError::of_text(&errors.to_string());
        let ssl = Ssl::new(self.acceptor.context()).map_err(|errors| failed(&errors))?;
        let mut stream = Box::new(SslStream::new(ssl, transport).map_err(|errors| failed(&errors))?);
        let Err(error) = Pin::new(&mut *stream).accept().await else { return Ok(Transport::Tls(Secure::new(stream))) };
        let error = explain(&error, stream.ssl());
        // The alert is on its way, and so may be the client's request, which must not be answered by a reset that
        // overtakes the alert.
        stream.get_mut().linger(LINGER_BYTES, LINGER_TIME).await;
        Err(error)
    }
}

/// Makes clients show a certificate that leads to one of these.
fn ask_for_certificates(builder: &mut SslAcceptorBuilder, authorities: Vec<X509>) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    // An authority need not be a root, and a client's own certificate may be trusted as it is.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    let mut names = Stack::new()?;
    for authority in authorities {
        names.push(authority.subject_name().to_owned()?)?;
        store.add_cert(authority)?;
    }
    builder.set_cert_store(store.build());
    builder.set_client_ca_list(names);
    // Without it, sessions that are taken up again would be refused.
    builder.set_session_id_context(b"wsp")?;
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(())
}

fn explain(error: &ssl::Error, ssl: &SslRef) -> TlsError {
    if let Some(error) = error.io_error() {
        return TlsError::other(io_text(error));
    }
    if error.ssl_error().is_none() {
        return TlsError::other("the client closed the connection during the handshake");
    }
    match ssl.verify_result() {
        X509VerifyResult::OK => TlsError::of_text(&error.to_string()),
        verified => TlsError::other(format!("client certificate rejected: {}", verified.error_string())),
    }
}

/// Whom the client's certificate names, where it has shown one.
pub(crate) fn subject(stream: &ServerStream) -> Option<String> {
    stream.ssl().peer_certificate().map(|certificate| names(certificate.subject_name()))
}

//! The one set of TLS settings as the TLS of the NATS library wants it, which is rustls.
//!
//! Invariant: without `-k` a certificate is checked, by the given CA alone or by those of the system.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::exit::Exit;
use crate::net::tls::{ClientTls, TlsVersion};
use crate::queue::end::{EndError, Problem};

/// The settings of TLS as rustls wants them.
pub(super) fn config(trust: &ClientTls, shown: &str) -> Result<rustls::ClientConfig, Problem> {
    let broken = |text: String| Problem::Broken(EndError::new(Exit::Tls, format!("{shown}: TLS: {text}")));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match trust.min {
        TlsVersion::V1_2 => rustls::DEFAULT_VERSIONS,
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| broken(error.to_string()))?;
    let builder = if trust.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(any::AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(trust).map_err(broken)?)
    };
    let identity = trust.identity().map_err(|error| {
        let hint = "--cert FILE --key FILE in PEM, --passphrase-env VAR where the key is encrypted";
        Problem::Broken(EndError::new(Exit::Tls, format!("{shown}: {error}")).hint(hint))
    })?;
    let Some(pem) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&pem.chain).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(&pem.key);
    match (chain, key) {
        (Ok(chain), Ok(key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| broken(format!("client certificate: {error}")))
        }
        _ => Err(broken("cannot read the client certificate or its key".to_owned())),
    }
}

fn roots(trust: &ClientTls) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    match &trust.ca_file {
        Some(path) => {
            let wrong = |error: &dyn fmt::Display| format!("--cacert {}: {error}", path.display());
            let pem = trust.authorities().map_err(|error| error.to_string())?.unwrap_or_default();
            let certificates =
                CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
            if certificates.is_empty() {
                return Err(wrong(&"contains no PEM certificate"));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// What `-k` trusts.
mod any {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Any certificate, as long as its owner shows that it is theirs.
    #[derive(Debug)]
    pub(super) struct AnyCertificate(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

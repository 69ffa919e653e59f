//! A certificate for trying things on this machine: a CA made for the run and a leaf it signed.
//!
//! Owns what is in them. The making is OpenSSL's, which is there for TLS anyway, and rcgen's where the TLS library
//! is the system's own.

#[cfg(not(target_os = "macos"))]
#[path = "self_signed/with_openssl.rs"]
mod making;
#[cfg(target_os = "macos")]
#[path = "self_signed/with_rcgen.rs"]
mod making;

/// The CA's name.
const ISSUER: &str = "wsp test CA";
/// What the leaf is valid for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Browsers accept no leaf valid for longer than 398 days.
const DAYS: i64 = 365;

/// A certificate made for this run, everything in PEM.
#[derive(Debug, Clone)]
pub(crate) struct SelfSigned {
    /// The leaf, then the CA.
    pub chain_pem: String,
    /// The leaf's key, PKCS#8.
    pub key_pem: String,
    /// The CA's certificate, for clients to trust.
    pub ca_pem: String,
    /// SHA-256 of the leaf, upper-case hexadecimal with colons.
    pub fingerprint: String,
}

/// Makes one.
///
/// # Errors
/// What the crypto library says.
pub(crate) fn generate() -> Result<SelfSigned, String> {
    making::generate().map_err(|error| error.to_string())
}

fn fingerprint(digest: &[u8]) -> String {
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{ClientTls, ServerDemands, ServerTls, TlsErrorKind};
    use crate::net::transport::Transport;

    async fn shake(client: &ClientTls, name: &str, made: &SelfSigned) -> Result<Transport, TlsErrorKind> {
        let server = ServerTls::from_pem(made.chain_pem.as_bytes(), made.key_pem.as_bytes(), &ServerDemands::default())
            .expect("the made certificate is usable");
        let (ours, theirs) = tokio::io::duplex(65536);
        let connector = client.build().expect("client settings are usable");
        let (client, _server) =
            tokio::join!(connector.handshake(name, Transport::Memory(ours)), server.accept(Transport::Memory(theirs)));
        client.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn is_trusted_by_its_ca_for_its_names_only() {
        let made = generate().expect("a certificate");
        let dir = tempfile::tempdir().expect("a folder");
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, &made.ca_pem).expect("written");
        let with_ca = ClientTls { ca_file: Some(ca_file), ..ClientTls::default() };
        for name in NAMES {
            assert!(shake(&with_ca, name, &made).await.is_ok(), "{name}");
        }
        assert_eq!(shake(&with_ca, "example.org", &made).await.err(), Some(TlsErrorKind::NameMismatch));
        assert_eq!(shake(&ClientTls::default(), "localhost", &made).await.err(), Some(TlsErrorKind::Untrusted));
        let insecure = ClientTls { insecure: true, ..ClientTls::default() };
        assert!(shake(&insecure, "example.org", &made).await.is_ok());
        let sni = ClientTls { sni: Some("localhost".to_owned()), ..with_ca };
        assert!(shake(&sni, "example.org", &made).await.is_ok());
    }
}

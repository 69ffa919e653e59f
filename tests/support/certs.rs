//! Certificates for one test: a CA of its own, and what it signs.
//!
//! Owns their making and the files they lie in. Invariant: nothing is checked in, so nothing runs out.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::{scratch, text, write};

/// A CA in a directory that goes away with the test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: tempfile::TempDir,
    /// The CA's certificate.
    pub ca: PathBuf,
}

/// Paths of a certificate and its key, as arguments.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "wsp test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
        let files = scratch();
        let ca = write(&files, "ca.pem", issuer.pem());
        Self { issuer, files, ca }
    }

    pub fn ca(&self) -> String {
        text(&self.ca)
    }

    /// A certificate for a server that goes by these names.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.signed(names, "server", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client.
    pub fn client(&self) -> Identity {
        self.signed(&["client.test"], "client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn signed(&self, names: &[&str], file: &str, purpose: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            cert: text(&write(&self.files, &format!("{file}.pem"), cert.pem())),
            key: text(&write(&self.files, &format!("{file}.key"), key.serialize_pem())),
        }
    }
}

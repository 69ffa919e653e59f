//! Certificates with their keys, read from PEM and PKCS#12 files.
//!
//! Owns what a file may hold and what is said when it cannot be opened. Where the TLS library is
//! OpenSSL, keys of every PEM form are converted to PKCS#8, and what old programs encrypted (RC2, as Java 8
//! and Windows write it, or DES) is read with OpenSSL's legacy provider, where that is installed.

use std::path::Path;

use super::{TlsError, TlsErrorKind, read};

/// Whose certificate it is, for what is said of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownBy {
    Client,
    Server,
}

/// A chain that begins with the certificate, and its key as unencrypted PKCS#8, both in PEM.
pub(super) struct PemIdentity {
    pub(super) chain: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// Reads a certificate and its key from PEM files, which may be the same.
pub(super) fn from_pem_files(cert: &Path, key: &Path, passphrase: Option<&str>) -> Result<PemIdentity, TlsError> {
    let chain = read(cert, "certificate")?;
    check_java(&chain).map_err(|fault| fault.of_file(cert, "certificate"))?;
    if memchr::memmem::find(&chain, b"-----BEGIN CERTIFICATE-----").is_none() {
        return Err(TlsError::of_file(cert, "certificate", "contains no PEM certificate; --pkcs12 reads PKCS#12"));
    }
    let pem = read(key, "key")?;
    check_java(&pem).map_err(|fault| fault.of_file(key, "key"))?;
    let key = to_pkcs8(&pem, passphrase).map_err(|fault| fault.of_file(key, "key"))?;
    Ok(PemIdentity { chain, key })
}

/// Whether these are the first bytes of a Java key store in one of Java's own formats, JKS or JCEKS.
pub(super) fn is_java_store(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xfe\xed\xfe\xed") || bytes.starts_with(b"\xce\xce\xce\xce")
}

fn check_java(bytes: &[u8]) -> Result<(), Fault> {
    let text = "it is a Java key store (JKS); convert it first";
    if is_java_store(bytes) { Err(Fault(TlsErrorKind::JavaStore, text)) } else { Ok(()) }
}

/// Why a key cannot be read, and a hint.
struct Fault(TlsErrorKind, &'static str);

impl Fault {
    fn of_file(&self, path: &Path, what: &str) -> TlsError {
        TlsError { kind: self.0, ..TlsError::of_file(path, what, self.1) }
    }
}

#[cfg(target_os = "macos")]
fn to_pkcs8(pem: &[u8], _passphrase: Option<&str>) -> Result<Vec<u8>, Fault> {
    match memchr::memmem::find(pem, b"-----BEGIN PRIVATE KEY-----") {
        Some(_) => Ok(pem.to_vec()),
        None => Err(Fault(TlsErrorKind::Other, "it must be an unencrypted PKCS#8 key in PEM")),
    }
}

#[cfg(not(target_os = "macos"))]
use with_openssl::to_pkcs8;
#[cfg(not(target_os = "macos"))]
pub(super) use with_openssl::{authorities, authorities_pem, from_pkcs12_file};

#[cfg(not(target_os = "macos"))]
mod with_openssl {
    use openssl::error::{Error, ErrorStack};
    use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
    use openssl::pkey::{PKey, Private};
    use openssl::x509::X509;

    use super::super::pkcs12_mac::with_mac;
    use super::super::shorten;
    use super::{Fault, Path, PemIdentity, ShownBy, TlsError, TlsErrorKind, check_java, is_java_store, read};

    /// What is said where the provider is not there either.
    const OLD: &str = "its encryption is outdated and needs OpenSSL's legacy provider, which is missing";

    impl Fault {
        fn of_passphrase(passphrase: Option<&str>) -> Self {
            let text = match passphrase {
                None => "it is encrypted; no passphrase was given",
                Some(_) => "wrong passphrase",
            };
            Self(TlsErrorKind::Passphrase, text)
        }
    }

    fn says(errors: &ErrorStack, part: &str) -> bool {
        errors.errors().iter().any(|error| error.reason().is_some_and(|reason| reason.contains(part)))
    }

    /// Whether the cipher is one OpenSSL has dropped. What a wrong passphrase turns a key into can be
    /// "unsupported" too, but then it is the decoder that says so.
    fn is_cipher_gone(errors: &ErrorStack) -> bool {
        let of_ciphers = |library: &str| library.contains("digital envelope");
        errors.errors().iter().any(|error| {
            Error::library(error).is_some_and(of_ciphers)
                && error.reason().is_some_and(|reason| reason.contains("unsupported"))
        })
    }

    pub(super) fn to_pkcs8(pem: &[u8], passphrase: Option<&str>) -> Result<Vec<u8>, Fault> {
        let is_encrypted = memchr::memmem::find(pem, b"ENCRYPTED").is_some();
        if is_encrypted && passphrase.is_none() {
            return Err(Fault::of_passphrase(None));
        }
        let key = || PKey::private_key_from_pem_passphrase(pem, passphrase.unwrap_or_default().as_bytes());
        with_old_ciphers(key).and_then(|key| key.private_key_to_pem_pkcs8()).map_err(|errors| match is_encrypted {
            true if is_cipher_gone(&errors) => Fault(TlsErrorKind::OldKey, OLD),
            true => Fault::of_passphrase(passphrase),
            false => Fault(TlsErrorKind::Other, "contains no PEM private key"),
        })
    }

    /// Tries again with the legacy provider when it was the cipher that failed.
    fn with_old_ciphers<T>(open: impl Fn() -> Result<T, ErrorStack>) -> Result<T, ErrorStack> {
        match open() {
            #[cfg(openssl3)]
            Err(errors) if is_cipher_gone(&errors) => {
                // It is there for as long as this lives.
                let legacy = openssl::provider::Provider::try_load(None, "legacy", true);
                if legacy.is_ok() { open() } else { Err(errors) }
            }
            result => result,
        }
    }

    /// Reads a certificate, its key and its chain from a PKCS#12 file.
    pub(in crate::net::tls) fn from_pkcs12_file(
        path: &Path,
        passphrase: Option<&str>,
        shown_by: ShownBy,
    ) -> Result<PemIdentity, TlsError> {
        let der = read(path, "PKCS#12 file")?;
        from_pkcs12(&der, passphrase, shown_by).map_err(|fault| fault.of_file(path, "PKCS#12 file"))
    }

    /// Reads the certificates in a file, of which there is at least one: PEM, one in DER, or a PKCS#12 file.
    pub(in crate::net::tls) fn authorities(
        path: &Path,
        what: &str,
        passphrase: Option<&str>,
    ) -> Result<Vec<X509>, TlsError> {
        let bytes = read(path, what)?;
        if is_java_store(&bytes) {
            let text = "it is a Java key store (JKS); convert it first";
            return Err(TlsError { kind: TlsErrorKind::JavaTrust, ..TlsError::of_file(path, what, text) });
        }
        // PEM is text; DER begins with a sequence.
        if bytes.first() != Some(&0x30) {
            let pem = X509::stack_from_pem(&bytes);
            let certificates = pem.map_err(|errors| TlsError::of_file(path, what, &shorten(&errors.to_string())))?;
            let none = || TlsError::of_file(path, what, "contains no PEM or PKCS#12 certificate");
            return if certificates.is_empty() { Err(none()) } else { Ok(certificates) };
        }
        if let Ok(certificate) = X509::from_der(&bytes) {
            return Ok(vec![certificate]);
        }
        let parsed = open_pkcs12(&bytes, passphrase).map_err(|fault| {
            let kind = match fault.0 {
                TlsErrorKind::Passphrase => TlsErrorKind::TrustPassphrase,
                kind => kind,
            };
            TlsError { kind, ..fault.of_file(path, what) }
        })?;
        let certificates: Vec<X509> = parsed.cert.into_iter().chain(parsed.ca.into_iter().flatten()).collect();
        let none = || TlsError::of_file(path, what, "holds no certificate");
        if certificates.is_empty() { Err(none()) } else { Ok(certificates) }
    }

    /// The same in PEM.
    pub(in crate::net::tls) fn authorities_pem(
        path: &Path,
        what: &str,
        passphrase: Option<&str>,
    ) -> Result<Vec<u8>, TlsError> {
        let certificates = authorities(path, what, passphrase)?;
        let pem = certificates.iter().map(|certificate| certificate.to_pem()).collect::<Result<Vec<_>, _>>();
        pem.map(|pem| pem.concat()).map_err(|_| TlsError::of_file(path, what, "it cannot be read"))
    }

    fn open_pkcs12(der: &[u8], passphrase: Option<&str>) -> Result<ParsedPkcs12_2, Fault> {
        let other = |text| Fault(TlsErrorKind::Other, text);
        check_java(der)?;
        let file = Pkcs12::from_der(der).map_err(|_| other("it is not a PKCS#12 file"))?;
        // BER becomes DER by the way.
        let der = file.to_der().map_err(|_| other("it cannot be read"))?;
        let added = passphrase.filter(|text| !text.is_empty()).and_then(|passphrase| with_mac(&der, passphrase));
        let has_own_mac = added.is_none();
        let file = added.map_or(Ok(file), |der| Pkcs12::from_der(&der)).map_err(|_| other("it cannot be read"))?;
        with_old_ciphers(|| file.parse2(passphrase.unwrap_or_default())).map_err(|errors| {
            if is_cipher_gone(&errors) {
                Fault(TlsErrorKind::OldPkcs12, OLD)
            } else if says(&errors, "mac verify") || says(&errors, "decrypt") || !has_own_mac {
                Fault::of_passphrase(passphrase)
            } else {
                other("it cannot be read")
            }
        })
    }

    pub(super) fn from_pkcs12(der: &[u8], passphrase: Option<&str>, shown_by: ShownBy) -> Result<PemIdentity, Fault> {
        let other = |text| Fault(TlsErrorKind::Other, text);
        let parsed = open_pkcs12(der, passphrase)?;
        let key = parsed.pkey;
        let mut certificates: Vec<X509> = parsed.cert.into_iter().collect();
        // PKCS12_parse gives the others in reverse.
        certificates.extend(parsed.ca.into_iter().flatten().rev());
        let key = key.ok_or(other(match shown_by {
            ShownBy::Client => "it contains no private key; use --cacert for a trust store",
            ShownBy::Server => "it contains no private key; use --client-ca for a trust store",
        }))?;
        let chain = in_order(&key, certificates).ok_or(other("it contains no certificate for its key"))?;
        let to_pem = || -> Result<PemIdentity, ErrorStack> {
            let mut pem = Vec::new();
            for certificate in &chain {
                pem.extend_from_slice(&certificate.to_pem()?);
            }
            Ok(PemIdentity { chain: pem, key: key.private_key_to_pem_pkcs8()? })
        };
        to_pem().map_err(|_| other("it cannot be read"))
    }

    /// The key's own certificate first, then each issuer after what it signed.
    fn in_order(key: &PKey<Private>, mut certificates: Vec<X509>) -> Option<Vec<X509>> {
        let own = certificates
            .iter()
            .position(|certificate| certificate.public_key().is_ok_and(|public| public.public_eq(key)))?;
        let mut chain = vec![certificates.swap_remove(own)];
        while let Some(last) = chain.last() {
            let issuer = last.issuer_name().to_der().ok()?;
            let is_issuer = |other: &X509| other.subject_name().to_der().is_ok_and(|name| name == issuer);
            let Some(next) = certificates.iter().position(is_issuer) else { break };
            chain.push(certificates.swap_remove(next));
        }
        Some(chain)
    }

    #[cfg(test)]
    mod tests {
        use openssl::ec::{EcGroup, EcKey};
        use openssl::nid::Nid;
        use openssl::symm::Cipher;

        use super::*;

        #[test]
        fn a_wrong_passphrase_is_one_even_when_the_padding_happens_to_fit() {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
            let key = EcKey::generate(&group).expect("a key");
            let pem = key.private_key_to_pem_passphrase(Cipher::des_ede3_cbc(), b"right").expect("an encrypted key");
            assert!(to_pkcs8(&pem, Some("right")).is_ok());
            // One in 256 leaves bytes that end as padding does.
            for number in 0..2000 {
                let Err(fault) = to_pkcs8(&pem, Some(&format!("wrong {number}"))) else { panic!("{number} opens it") };
                assert_eq!(fault.0, TlsErrorKind::Passphrase, "{number}: {}", fault.1);
            }
        }
    }
}

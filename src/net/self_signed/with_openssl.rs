//! With the OpenSSL that does TLS.

use std::net::IpAddr;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use super::{DAYS, ISSUER, NAMES, SelfSigned, fingerprint};

/// X.509 version 3, counted from 0.
const VERSION: i32 = 2;
/// Bits of a serial number: positive, and at most 20 bytes (RFC 5280 section 4.1.2.2).
const SERIAL_BITS: i32 = 159;
const DAY: i64 = 24 * 60 * 60;

pub(super) fn generate() -> Result<SelfSigned, ErrorStack> {
    let (ca_key, key) = (new_key()?, new_key()?);
    let issuer = name(ISSUER)?;
    let mut ca = certificate(&issuer, &issuer, &ca_key)?;
    ca.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    ca.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let identifier = SubjectKeyIdentifier::new().build(&ca.x509v3_context(None, None))?;
    ca.append_extension(identifier)?;
    ca.sign(&ca_key, MessageDigest::sha256())?;
    let ca = ca.build();
    let leaf = leaf(&key, &issuer, &ca, &ca_key)?;
    let ca_pem = ca.to_pem()?;
    Ok(SelfSigned {
        chain_pem: text(&[leaf.to_pem()?, ca_pem.clone()].concat()),
        key_pem: text(&key.private_key_to_pem_pkcs8()?),
        ca_pem: text(&ca_pem),
        fingerprint: fingerprint(&leaf.digest(MessageDigest::sha256())?),
    })
}

fn leaf(key: &PKey<Private>, issuer: &X509Name, ca: &X509, ca_key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut leaf = certificate(&name(NAMES[0])?, issuer, key)?;
    leaf.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    leaf.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut names = SubjectAlternativeName::new();
    for name in NAMES {
        if name.parse::<IpAddr>().is_ok() {
            names.ip(name)
        } else {
            names.dns(name)
        };
    }
    let names = names.build(&leaf.x509v3_context(Some(ca), None))?;
    leaf.append_extension(names)?;
    let identifier = AuthorityKeyIdentifier::new().keyid(true).build(&leaf.x509v3_context(Some(ca), None))?;
    leaf.append_extension(identifier)?;
    leaf.sign(ca_key, MessageDigest::sha256())?;
    Ok(leaf.build())
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

fn certificate(subject: &X509Name, issuer: &X509Name, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509Builder::new()?;
    builder.set_version(VERSION)?;
    let mut serial = BigNum::new()?;
    serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let now = jiff::Timestamp::now().as_second();
    builder.set_not_before(&*Asn1Time::from_unix(now - DAY)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + DAYS * DAY)?)?;
    Ok(builder)
}

/// PEM is ASCII.
fn text(pem: &[u8]) -> String {
    String::from_utf8_lossy(pem).into_owned()
}

//! Gives a PKCS#12 file the MAC it lacks (RFC 7292): OpenSSL opens no file with a passphrase that has none.
//!
//! The MAC is computed from the passphrase it is to be opened with, so that it says nothing about the file: whether
//! the passphrase is right is seen when the contents are decrypted.

use openssl::error::ErrorStack;
use openssl::hash::{Hasher, MessageDigest};
use openssl::pkey::PKey;
use openssl::sign::Signer;

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const CONTENT: u8 = 0xa0;
/// id-sha256 with its parameters, none (RFC 4055).
const SHA256: [u8; 15] = [SEQUENCE, 13, 0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00];
/// Bytes SHA-256 takes at a time.
const BLOCK: usize = 64;
const SALT: [u8; 8] = *b"no salt!";
/// The purpose of a derived key: a MAC (RFC 7292 appendix B.3).
const FOR_MAC: u8 = 3;

/// The file with a MAC; `None` when it has one, or is not understood.
pub(super) fn with_mac(der: &[u8], passphrase: &str) -> Option<Vec<u8>> {
    let (file, rest) = element(der, SEQUENCE)?;
    let (_, safe) = element(file, 0x02)?;
    let (content_info, mac) = element(safe, SEQUENCE)?;
    if !rest.is_empty() || !mac.is_empty() {
        return None;
    }
    let (_, content) = element(content_info, 0x06)?;
    let (octets, _) = element(element(content, CONTENT)?.0, OCTETS)?;
    let digest = digest(octets, passphrase).ok()?;
    let info = der_of(SEQUENCE, &[&SHA256, &der_of(OCTETS, &[&digest])]);
    // One iteration is what is meant when nothing is said.
    let mac = der_of(SEQUENCE, &[&info, &der_of(OCTETS, &[&SALT])]);
    Some(der_of(SEQUENCE, &[file, &mac]))
}

/// The contents of the element that must stand here, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first().filter(|_| *found == tag)?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn der_of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    if length < 0x80 {
        der.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let from = digits.iter().position(|digit| *digit != 0).unwrap_or_default();
        der.push(0x80 | (digits.len() - from) as u8);
        der.extend_from_slice(&digits[from..]);
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

/// HMAC with a key derived from the passphrase (RFC 7292 appendix B.2): one block and one iteration need no more
/// than one hash.
fn digest(octets: &[u8], passphrase: &str) -> Result<Vec<u8>, ErrorStack> {
    let utf16: Vec<u8> = passphrase.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let fill =
        |bytes: &[u8]| bytes.iter().copied().cycle().take(bytes.len().next_multiple_of(BLOCK)).collect::<Vec<_>>();
    let mut hasher = Hasher::new(MessageDigest::sha256())?;
    for part in [&[FOR_MAC; BLOCK][..], &fill(&SALT), &fill(&utf16)] {
        hasher.update(part)?;
    }
    let key = PKey::hmac(&hasher.finish()?)?;
    Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(octets)
}

#[cfg(test)]
mod tests {
    use openssl::pkcs12::Pkcs12;

    use super::*;

    /// A file with a MAC of OpenSSL's own, and the same without it.
    fn file(passphrase: &str) -> (Vec<u8>, Vec<u8>) {
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
        let whole = Pkcs12::builder().pkey(&key).build2(passphrase).unwrap().to_der().unwrap();
        let (file, _) = element(&whole, SEQUENCE).unwrap();
        let (_, safe) = element(file, 0x02).unwrap();
        let (_, mac) = element(safe, SEQUENCE).unwrap();
        let bare = der_of(SEQUENCE, &[&file[..file.len() - mac.len()]]);
        (whole, bare)
    }

    #[test]
    fn a_file_without_a_mac_is_opened_by_its_passphrase_and_no_other() {
        for passphrase in ["secret", "chang€it 😀", "x"] {
            let (whole, bare) = file(passphrase);
            assert_eq!(with_mac(&whole, passphrase), None, "it has one");
            let open = |der: &[u8], passphrase: &str| Pkcs12::from_der(der).unwrap().parse2(passphrase);
            let added = with_mac(&bare, passphrase).unwrap();
            assert!(open(&added, passphrase).unwrap().pkey.is_some());
            assert!(open(&added, "other").is_err());
            assert!(!open(&with_mac(&bare, "other").unwrap(), "other").is_ok_and(|parsed| parsed.pkey.is_some()));
        }
    }

    #[test]
    fn what_is_no_such_file_is_left_alone() {
        let (_, bare) = file("secret");
        for end in 0..bare.len() {
            assert_eq!(with_mac(&bare[..end], "secret"), None);
        }
        for wrong in [&b""[..], b"0\x80", b"0\x00", &[0x30; 9], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]] {
            assert_eq!(with_mac(wrong, "secret"), None);
        }
        assert_eq!(with_mac(&[&bare[..], b"x"].concat(), "secret"), None);
    }

    #[test]
    fn lengths_come_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            assert_eq!(element(&der_of(OCTETS, &[&content]), OCTETS), Some((&content[..], &b""[..])));
        }
    }
}

//! JSON Web Tokens (RFC 7519): is this one signed by whom we trust, and does it hold now?
//!
//! `jsonwebtoken` takes tokens apart and reads keys, `ring` checks signatures, and what the claims say is decided here,
//! with time as an argument. Invariants: the algorithm follows from the key, never from the token, so a token cannot choose
//! `none` or pass a public key off as a secret; nothing of a token is in what is said about it.

use std::fmt;

use jiff::Timestamp;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult, new_error};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Validation, decode};
use ring::{hmac, signature};
use serde_json::Value;

/// Clocks may differ by this much.
const LEEWAY_SECONDS: f64 = 5.0;
/// A key of 2048 bits has this many bytes at the least; the signatures of smaller ones are not believed.
const RSA_KEY_BYTES: usize = 256;

/// Whose tokens are taken, and for what.
#[derive(Clone)]
pub(crate) struct Jwt {
    key: DecodingKey,
    validation: Validation,
    audience: Option<String>,
    issuer: Option<String>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// It is no token.
    #[error("not a JSON Web Token")]
    Malformed,
    /// It is signed in a way our key is not for, or not at all.
    #[error("the token is not signed in the way this server asks for")]
    Algorithm,
    /// Somebody else has signed it, or it was changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// It held until a time that has passed.
    #[error("the token has expired")]
    Expired,
    /// It holds from a time that has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// It comes from somebody else.
    #[error("the token comes from another issuer")]
    Issuer,
}

impl Jwt {
    /// Takes tokens signed with the private half of this public key, in PEM: RSA (RS256, PS256), P-256 (ES256), P-384
    /// (ES384) or Ed25519 (`EdDSA`).
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        if memchr::memmem::find(pem, b"PRIVATE KEY-----").is_some() {
            return Err("it holds a private key; openssl pkey -in F -pubout writes the public one".to_owned());
        }
        let (key, algorithms) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            if key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() <= RSA_KEY_BYTES) {
                return Err("an RSA key of less than 2048 bits proves nothing".to_owned());
            }
            (key, vec![Algorithm::RS256, Algorithm::PS256])
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            // The point is a byte and two coordinates.
            let algorithm = match key.try_get_as_bytes().map(<[u8]>::len) {
                Ok(65) => Algorithm::ES256,
                Ok(97) => Algorithm::ES384,
                _ => return Err("its curve is neither P-256 nor P-384".to_owned()),
            };
            (key, vec![algorithm])
        } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            (key, vec![Algorithm::EdDSA])
        } else {
            return Err("it holds no public key in PEM: RSA, P-256, P-384 or Ed25519".to_owned());
        };
        Ok(Self::new(key, algorithms))
    }

    /// Takes tokens signed with this secret (HS256).
    #[must_use]
    pub(crate) fn from_secret(secret: &[u8]) -> Self {
        Self::new(DecodingKey::from_secret(secret), vec![Algorithm::HS256])
    }

    fn new(key: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        // Once for the process; it is the same each time.
        let _ = RING.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = algorithms;
        // What the claims say is looked at here.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { key, validation, audience: None, issuer: None }
    }

    /// Takes those alone whose `aud` names this audience and whose `iss` is this issuer, where they are given.
    #[must_use]
    pub(crate) fn meant_for(self, audience: Option<String>, issuer: Option<String>) -> Self {
        Self { audience, issuer, ..self }
    }

    /// The claims of a token that holds now.
    ///
    /// # Errors
    /// Why not; what is in it is told only when its signature is right.
    pub(crate) fn check(&self, token: &[u8], now: Timestamp) -> Result<Value, TokenFault> {
        let token = decode::<Value>(token, &self.key, &self.validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => TokenFault::Algorithm,
            ErrorKind::InvalidSignature => TokenFault::Signature,
            _ => TokenFault::Malformed,
        })?;
        // An extension we do not know must not be passed over (RFC 7515 section 4.1.11), and we know none.
        if token.header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        check_claims(&token.claims, self.audience.as_deref(), self.issuer.as_deref(), now)?;
        Ok(token.claims)
    }
}

/// Whether what a signed token says holds now (RFC 7519 section 4.1).
fn check_claims(
    claims: &Value,
    audience: Option<&str>,
    issuer: Option<&str>,
    now: Timestamp,
) -> Result<(), TokenFault> {
    let claims = claims.as_object().ok_or(TokenFault::Malformed)?;
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if value.is_number() && seconds.is_finite() => Ok(Some(seconds)),
            _ => Err(TokenFault::Malformed),
        },
    };
    let now = now.as_millisecond() as f64 / 1000.0;
    if time("exp")?.is_some_and(|end| now >= end + LEEWAY_SECONDS) {
        return Err(TokenFault::Expired);
    }
    if time("nbf")?.is_some_and(|start| now < start - LEEWAY_SECONDS) {
        return Err(TokenFault::NotYet);
    }
    if let Some(audience) = audience {
        let names_it = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !names_it {
            return Err(TokenFault::Audience);
        }
    }
    match issuer {
        Some(issuer) if claims.get("iss").and_then(Value::as_str) != Some(issuer) => Err(TokenFault::Issuer),
        _ => Ok(()),
    }
}

/// Signatures by ring; we sign nothing.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_: &Algorithm, _: &EncodingKey| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: |algorithm, key| Ok(Box::new(Signature::new(*algorithm, key)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Signature {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Secret(hmac::Key),
    Public(signature::UnparsedPublicKey<Vec<u8>>),
}

impl Signature {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> JwtResult<Self> {
        if key.family() != algorithm.family() {
            return Err(new_error(ErrorKind::InvalidAlgorithm));
        }
        let bytes = key.try_get_as_bytes()?;
        let verification: &'static dyn signature::VerificationAlgorithm = match algorithm {
            Algorithm::HS256 if algorithm.family() == AlgorithmFamily::Hmac => {
                return Ok(Self { algorithm, key: Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)) });
            }
            Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDSA => &signature::ED25519,
            _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
        };
        Ok(Self { algorithm, key: Key::Public(signature::UnparsedPublicKey::new(verification, bytes.to_vec())) })
    }
}

impl Verifier<Vec<u8>> for Signature {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        // Both take the same time wherever the difference is.
        let result = match &self.key {
            Key::Secret(key) => hmac::verify(key, message, signature),
            Key::Public(key) => key.verify(message, signature),
        };
        result.map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Signature {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use ring::rand::SystemRandom;
    use ring::signature::{EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).expect("a time")
    }

    fn unsigned(header: &Value, claims: &Value) -> String {
        format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
    }

    fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", BASE64.encode(tag))
    }

    #[test]
    fn claims_are_held_against_the_clock_and_the_settings() {
        let table = [
            (json!({}), Ok(())),
            (json!({"exp": 1_000_001}), Ok(())),
            (json!({"exp": 999_996}), Ok(())),
            (json!({"exp": 999_995}), Err(TokenFault::Expired)),
            (json!({"exp": 0.5}), Err(TokenFault::Expired)),
            (json!({"exp": "2000000"}), Err(TokenFault::Malformed)),
            (json!({"exp": null}), Err(TokenFault::Malformed)),
            (json!({"nbf": 1_000_005}), Ok(())),
            (json!({"nbf": 1_000_006}), Err(TokenFault::NotYet)),
            (json!({"nbf": [1]}), Err(TokenFault::Malformed)),
            (json!([]), Err(TokenFault::Malformed)),
        ];
        for (claims, expected) in table {
            assert_eq!(check_claims(&claims, None, None, now()), expected, "{claims}");
        }
        let big: Value = serde_json::from_str(r#"{"exp":1e999}"#).expect("JSON");
        assert_eq!(check_claims(&big, None, None, now()), Err(TokenFault::Malformed));
        let ours = |claims: Value| check_claims(&claims, Some("us"), Some("them"), now());
        assert_eq!(ours(json!({"aud": "us", "iss": "them"})), Ok(()));
        assert_eq!(ours(json!({"aud": ["a", "us"], "iss": "them"})), Ok(()));
        for claims in [json!({"iss": "them"}), json!({"aud": "a", "iss": "them"}), json!({"aud": [], "iss": "them"})] {
            assert_eq!(ours(claims.clone()), Err(TokenFault::Audience), "{claims}");
        }
        assert_eq!(ours(json!({"aud": "us"})), Err(TokenFault::Issuer));
    }

    #[test]
    fn a_secret_takes_what_was_signed_with_it_and_nothing_else() {
        let jwt = Jwt::from_secret(b"secret");
        let (header, claims) = (json!({"alg": "HS256", "typ": "JWT"}), json!({"exp": 1_000_100, "sub": 7}));
        let good = hs256(b"secret", &header, &claims);
        assert_eq!(jwt.check(good.as_bytes(), now()).map(drop), Ok(()));
        assert_eq!(jwt.check(good.as_bytes(), now() + jiff::SignedDuration::from_secs(200)), Err(TokenFault::Expired));
        let check = |token: &str| jwt.check(token.as_bytes(), now());
        assert_eq!(check(&hs256(b"other", &header, &claims)), Err(TokenFault::Signature));
        let critical = json!({"alg": "HS256", "crit": ["exp"]});
        assert_eq!(check(&hs256(b"secret", &critical, &claims)), Err(TokenFault::Malformed));
        for alg in ["none", "None", "NONE", "", "HS1"] {
            let token = unsigned(&json!({"alg": alg}), &claims);
            assert_eq!(check(&format!("{token}.")), Err(TokenFault::Malformed), "{alg}");
        }
        assert_eq!(check(&hs256(b"secret", &json!({"alg": "HS512"}), &claims)), Err(TokenFault::Algorithm));
        for junk in ["", ".", "..", "a.b", "a.b.c", "....", "\u{0}", &good.replace('.', "")] {
            assert_eq!(check(junk), Err(TokenFault::Malformed), "{junk:?}");
        }
        // Every change shows.
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let last = at + 1 == good.len();
            assert!(jwt.check(&bad, now()).is_err() || last, "{at}: the last letter has bits that mean nothing");
        }
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
            .expect("a key");
        // A P-256 SubjectPublicKeyInfo is this and the point.
        let mut der =
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
                .to_vec();
        der.extend_from_slice(pair.public_key().as_ref());
        let der = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
        let jwt = Jwt::from_pem(pem.as_bytes()).expect("a key");
        assert_eq!(jwt.validation.algorithms, [Algorithm::ES256]);
        let message = unsigned(&json!({"alg": "ES256"}), &json!({}));
        let signed = pair.sign(&random, message.as_bytes()).expect("a signature");
        let good = format!("{message}.{}", BASE64.encode(signed));
        assert_eq!(jwt.check(good.as_bytes(), now()).map(drop), Ok(()));
        let forged = hs256(pem.as_bytes(), &json!({"alg": "HS256"}), &json!({}));
        assert_eq!(jwt.check(forged.as_bytes(), now()), Err(TokenFault::Algorithm));
        assert!(!format!("{jwt:?}").contains(&der[..20]), "{jwt:?}");
    }

    #[test]
    fn what_is_no_public_key_is_named() {
        for (pem, expected) in [
            ("", "no public key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key"),
            ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "a private key"),
        ] {
            let error = Jwt::from_pem(pem.as_bytes()).expect_err(pem);
            assert!(error.contains(expected), "{error}");
        }
    }
}

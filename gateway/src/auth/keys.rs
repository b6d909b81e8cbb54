//! The keys that tokens are checked with, from the content of key files or of a JWKS file.
//!
//! A key serves one algorithm only, so that no token can choose to have a public key taken for a secret.
//! Never reads files itself; never shows key material. Called at start and on a reload (`node`).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::limits::KEYS_MAX;

/// Bytes of the shortest secret for HS256 (RFC 7518 §3.2: no shorter than the hash).
const SECRET_BYTES_MIN: usize = 32;

/// One key and the one algorithm it serves.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl Key {
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

/// All keys of a node.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A key that cannot be used; names no key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "neither a PEM public key (RSA, P-256, Ed25519) nor a secret of at least {SECRET_BYTES_MIN} bytes"
    )]
    Unusable,
    #[error("a private key; give the public one")]
    Private,
    #[error("no JWKS: {0}")]
    NotJwks(String),
    #[error("key {kid:?} of the JWKS: {why}")]
    Jwk { kid: Option<String>, why: &'static str },
    #[error("holds no key that can check a token")]
    Empty,
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Adds the key of one key file: a PEM public key, or else the secret of HS256 (one line end behind it is
    /// not part of it).
    pub fn add_file(&mut self, content: &[u8]) -> Result<(), KeyError> {
        if self.keys.len() == KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let (algorithm, decoding) = read_key(content)?;
        self.keys.push(Key { kid: None, algorithm, decoding });
        Ok(())
    }

    /// Reads a JWKS file. Keys for other purposes (encryption, other curves and algorithms) are passed over.
    pub fn from_jwks(content: &[u8]) -> Result<KeySet, KeyError> {
        let jwks: Jwks = serde_json::from_slice(content).map_err(|why| KeyError::NotJwks(why.to_string()))?;
        if jwks.keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let mut keys = Vec::new();
        for value in jwks.keys {
            // A key type that the library does not know is none of ours.
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            let Some(algorithm) = algorithm_of(&jwk) else { continue };
            let kid = jwk.common.key_id.clone();
            let bad = |why| KeyError::Jwk { kid: kid.clone(), why };
            let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| bad("its parameters do not decode"))?;
            if algorithm == Algorithm::HS256
                && decoding.try_get_as_bytes().is_ok_and(|secret| secret.len() < SECRET_BYTES_MIN)
            {
                return Err(bad("the secret is shorter than 32 bytes"));
            }
            keys.push(Key { kid, algorithm, decoding });
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(KeySet { keys }) }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What each key serves.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().map(|key| key.algorithm)
    }

    /// The keys that may check a token of this header. A key with an id serves only tokens that name it, or
    /// that name none.
    pub fn fitting<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| {
            let kid_fits = match (&key.kid, kid) {
                (Some(own), Some(named)) => own == named,
                _ => true,
            };
            key.algorithm == algorithm && kid_fits
        })
    }
}

/// Reads one kind of public key.
type PemReader = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

fn read_key(content: &[u8]) -> Result<(Algorithm, DecodingKey), KeyError> {
    let is_pem = content.trim_ascii_start().starts_with(b"-----BEGIN");
    if !is_pem {
        let secret = content.strip_suffix(b"\n").unwrap_or(content);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Unusable);
        }
        return Ok((Algorithm::HS256, DecodingKey::from_secret(secret)));
    }
    if content.windows(12).any(|window| window == b"PRIVATE KEY-") {
        return Err(KeyError::Private);
    }
    let readers: [(Algorithm, PemReader); 3] = [
        (Algorithm::RS256, DecodingKey::from_rsa_pem),
        (Algorithm::ES256, DecodingKey::from_ec_pem),
        (Algorithm::EdDSA, DecodingKey::from_ed_pem),
    ];
    let (algorithm, key) = readers
        .into_iter()
        .find_map(|(algorithm, read)| read(content).ok().map(|key| (algorithm, key)))
        .ok_or(KeyError::Unusable)?;
    let is_p256_point = || key.try_get_as_bytes().is_ok_and(|point| point.len() == 65);
    if algorithm == Algorithm::ES256 && !is_p256_point() {
        return Err(KeyError::Unusable);
    }
    Ok((algorithm, key))
}

fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(ed) if ed.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|stated| stated == named).then_some(algorithm)
}

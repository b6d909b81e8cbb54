//! Keys that sign for us, from the forms in which they are given out. Owns no key; called by the settings, which try each, and by
//! the carriers.

use data_encoding::{BASE64URL_NOPAD, Encoding};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// An RSA key in PEM. What is wrong is said without a piece of it.
pub fn rsa(pem: &str) -> Result<RsaKeyPair, String> {
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("it is not an RSA key in PEM".to_owned()),
    };
    key.map_err(|why| format!("it is not an RSA key that can sign ({why})"))
}

/// A P-256 key in PEM (PKCS #8), as Apple gives it out.
pub fn p256(pem: &str) -> Result<EcdsaKeyPair, String> {
    let Ok(PrivateKeyDer::Pkcs8(der)) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) else {
        return Err("it is not a PKCS #8 key in PEM".to_owned());
    };
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &SystemRandom::new())
        .map_err(|why| format!("it is not a P-256 key that can sign ({why})"))
}

/// Both halves, as the usual generators of VAPID keys write them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Halves {
    public_key: String,
    private_key: String,
}

/// A P-256 key in PEM, or in JSON with both halves.
pub fn vapid(text: &str) -> Result<EcdsaKeyPair, String> {
    if text.contains("-----BEGIN") {
        return p256(text);
    }
    let halves: Halves = serde_json::from_str(text)
        .map_err(|_| "it is neither PEM nor JSON with publicKey and privateKey".to_owned())?;
    let (Some(public), Some(private)) = (base64url(&halves.public_key), base64url(&halves.private_key))
    else {
        return Err("publicKey or privateKey is not base64url".to_owned());
    };
    let (signing, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    EcdsaKeyPair::from_private_key_and_public_key(signing, &private, &public, &random)
        .map_err(|why| format!("it is not a P-256 key that can sign ({why})"))
}

/// The public half as VAPID's `k` has it: an uncompressed point in base64url.
pub fn public(key: &EcdsaKeyPair) -> String {
    BASE64URL_NOPAD.encode(key.public_key().as_ref())
}

/// base64url with or without its padding: both are seen.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    const LOOSE: &Encoding = &BASE64URL_NOPAD;
    LOOSE.decode(text.trim_end_matches('=').as_bytes()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use data_encoding::BASE64;

    use super::*;

    /// A P-256 key in PEM that nobody else has.
    pub(crate) fn p256_pem() -> String {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der.as_ref()))
    }

    #[test]
    fn a_vapid_key_comes_in_two_forms() {
        let pem = p256_pem();
        let key = vapid(&pem).unwrap();
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        // RFC 5915: the private half is the octet string behind the version.
        let at = der.secret_der().windows(4).position(|four| four == [2, 1, 1, 4]).unwrap() + 5;
        let private = BASE64URL_NOPAD.encode(&der.secret_der()[at..at + 32]);
        let json = format!("{{\"publicKey\":\"{}\",\"privateKey\":\"{private}=\"}}", public(&key));
        assert_eq!(public(&vapid(&json).unwrap()), public(&key));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        for wrong in ["", "hush", "{\"publicKey\":\"hush\",\"privateKey\":\"hush\"}"] {
            assert!(!vapid(wrong).unwrap_err().contains("hush"));
        }
        assert!(rsa(&p256_pem()).is_err());
    }
}

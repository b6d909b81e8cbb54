//! Signed tokens (RFC 7519, RFC 7515) as providers want them from us. Pure but for the randomness of a signature.

use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// `key_id`: the name under which the provider knows the key.
pub fn rs256(key: &RsaKeyPair, key_id: &str, claims: &Value) -> String {
    let text = unsigned(&json!({ "alg": "RS256", "typ": "JWT", "kid": key_id }), claims);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .expect("the signature has the length of the key");
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

pub fn es256(key: &EcdsaKeyPair, key_id: Option<&str>, claims: &Value) -> String {
    let mut header = json!({ "alg": "ES256", "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let text = unsigned(&header, claims);
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).expect("the kernel has random numbers");
    format!("{text}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};

    use super::*;
    use crate::provider::keys;

    #[test]
    fn a_token_is_signed_over_both_its_parts() {
        let key = keys::p256(&keys::tests::p256_pem()).unwrap();
        let token = es256(&key, Some("ABC"), &json!({ "iss": "team" }));
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());
        assert!(public.verify(text.as_bytes(), &signature).is_ok());
        let header = BASE64URL_NOPAD.decode(text.split_once('.').unwrap().0.as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&header).unwrap()["kid"], "ABC");
    }
}

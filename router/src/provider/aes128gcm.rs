//! The encryption of a push to one browser: RFC 8291 over RFC 8188, in one record. Over ring alone.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of an uncompressed point.
const POINT_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// One record holds all: as long as a push may be.
const RECORD_BYTES: u32 = 4_096;
/// Behind the text of the last record (RFC 8188, section 2).
const LAST: u8 = 2;

/// `key` and `auth`: of the browser's subscription. `None`: the key is no point of the curve, or the secret is none.
pub fn seal(plain: &[u8], key: &[u8], auth: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, &random).ok()?;
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt).ok()?;
    seal_with(plain, key, auth, ours, salt)
}

fn seal_with(
    plain: &[u8],
    key: &[u8],
    auth: &[u8],
    ours: EphemeralPrivateKey,
    salt: [u8; SALT_BYTES],
) -> Option<Vec<u8>> {
    if key.len() != POINT_BYTES || auth.len() != AUTH_BYTES {
        return None;
    }
    let public = ours.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, key);
    let secret = agree_ephemeral(ours, &theirs, |shared| {
        let info = [b"WebPush: info\0".as_slice(), key, public.as_ref()].concat();
        derive::<32>(auth, shared, &info)
    });
    let secret = secret.ok()??;
    let content_key = derive::<16>(&salt, &secret, b"Content-Encoding: aes128gcm\0")?;
    let nonce = derive::<12>(&salt, &secret, b"Content-Encoding: nonce\0")?;
    let mut sealed = [plain, &[LAST]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key).ok()?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
    let length = [POINT_BYTES as u8];
    Some([&salt, RECORD_BYTES.to_be_bytes().as_slice(), &length, public.as_ref(), &sealed].concat())
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF, both its steps.
fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Bytes(N)).ok()?.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    /// RFC 8291, appendix A.
    #[test]
    fn the_rfc_s_example_is_sealed_as_in_the_rfc() {
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let private = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        #[expect(deprecated, reason = "ring has no other way to say which key an agreement is made with")]
        let random = ring::test::rand::FixedSliceRandom { bytes: &private };
        let ours = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
        let key =
            bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let auth = bytes("BTBZMqHH6r4Tts7J_aSIgg");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let plain = b"When I grow up, I want to be a watermelon";
        let sealed = seal_with(plain, &key, &auth, ours, salt).unwrap();
        assert_eq!(
            BASE64URL_NOPAD.encode(&sealed),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn nothing_is_sealed_for_a_key_that_is_none() {
        for key in [vec![], vec![4; POINT_BYTES], vec![0; POINT_BYTES - 1]] {
            assert_eq!(seal(b"x", &key, &[0; AUTH_BYTES]), None);
        }
    }
}

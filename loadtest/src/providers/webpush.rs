//! A browser maker's push service with one browser behind it, which opens what comes: a test sees what a user would.
//!
//! The browser's keys are those of RFC 8291's example; everybody knows them.
//! Source: RFC 8030, RFC 8188, RFC 8291, RFC 8292.

use std::net::SocketAddr;

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::signature::{self, ECDSA_P256_SHA256_FIXED};
use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::world::World;

const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
const BODY_BYTES_MAX: usize = 4_096;
const HEADERS: [&str; 6] = ["authorization", "content-encoding", "content-type", "ttl", "urgency", "topic"];

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("http://{at}"), "endpoint": format!("http://{at}/push/browser-1"), "p256dh": P256DH, "auth": AUTH })
}

pub(super) fn address(asked: &Asked) -> String {
    asked.path.strip_prefix("/push/").unwrap_or_default().to_owned()
}

pub(super) fn content(asked: &Asked) -> Value {
    let opened = open(&asked.body).and_then(|plain| String::from_utf8(plain).ok());
    let shown = opened.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "headers": asked.headers_named(&HEADERS),
        "bytes": asked.body.len(),
        "plaintext": opened,
        "shown": shown,
        "claims": token(asked).map(|(_, claims, _)| claims),
    })
}

/// `410`, `404`, `413`: push services have codes of HTTP and words of their own.
pub(super) fn error(code: &str) -> Answered {
    let words = match code {
        "404" | "410" => "push subscription has unsubscribed or expired.\n",
        "413" => "This message is too large. Maximum allowed message body size is 4096 bytes.\n",
        "401" | "403" => {
            "the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions.\n"
        }
        "429" => "Too many requests.\n",
        _ => "Internal error.\n",
    };
    Answered::text(code.parse().unwrap_or(500), words)
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let header = |name: &str| asked.header(name).unwrap_or_default();
    let is_topic = header("topic").len() <= 32;
    let answer = if !is_known(world, asked) {
        error("401")
    } else if address(asked).is_empty() || asked.method != "POST" {
        error("404")
    } else if asked.body.len() > BODY_BYTES_MAX {
        error("413")
    } else if header("ttl").parse::<u64>().is_err() || !is_topic || header("content-encoding") != "aes128gcm"
    {
        Answered::text(400, "Bad request.\n")
    } else {
        let at = format!("http://{}/message/{:016x}", header("host"), world.next_id());
        Answered::text(201, "").with("location", Some(at))
    };
    Done { to: address(asked), content: content(asked), answer }
}

/// Token, claims, public key.
fn token(asked: &Asked) -> Option<(String, Value, Vec<u8>)> {
    let fields = asked.header("authorization")?.strip_prefix("vapid ")?;
    let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
    let (token, key) = (field("t=")?, field("k=")?);
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    let claims = serde_json::from_slice(&claims).ok()?;
    Some((token.to_owned(), claims, BASE64URL_NOPAD.decode(key.as_bytes()).ok()?))
}

/// The token is signed by the key beside it, is for this service, and ends within a day.
fn is_known(world: &World, asked: &Asked) -> bool {
    let Some((token, claims, key)) = token(asked) else { return false };
    let Some((text, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
    let public = signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
    let left = claims["exp"].as_i64().unwrap_or_default() - world.clock.wall().millis() / 1_000;
    let ours = format!("http://{}", asked.header("host").unwrap_or_default());
    public.verify(text.as_bytes(), &signature).is_ok()
        && claims["aud"] == ours.as_str()
        && claims["sub"].is_string()
        && (1..=24 * 3_600).contains(&left)
}

/// What the browser reads.
fn open(body: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = body.split_at_checked(16)?;
    let (length, rest) = rest.get(4..)?.split_first()?;
    let (public, text) = rest.split_at_checked(usize::from(*length))?;
    let (ours, auth) = (decode(P256DH)?, decode(AUTH)?);
    let theirs = UnparsedPublicKey::new(&ECDH_P256, public);
    let opened = agree_ephemeral(browser_key()?, &theirs, |shared| {
        let info = [b"WebPush: info\0".as_slice(), &ours, public].concat();
        let secret = derive::<32>(&auth, shared, &info)?;
        let key = derive::<16>(salt, &secret, b"Content-Encoding: aes128gcm\0")?;
        let nonce = derive::<12>(salt, &secret, b"Content-Encoding: nonce\0")?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
        let mut text = text.to_vec();
        let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text).ok()?;
        // The text ends with a 2 and any number of zeros.
        let end = plain.iter().rposition(|byte| *byte != 0).filter(|at| plain[*at] == 2)?;
        Some(plain[..end].to_vec())
    });
    opened.ok().flatten()
}

/// The browser's private key, every time anew: ring lets no key of an agreement be kept.
#[expect(deprecated, reason = "ring has no other way to say which key an agreement is made with")]
fn browser_key() -> Option<EphemeralPrivateKey> {
    let bytes = decode(PRIVATE)?;
    EphemeralPrivateKey::generate(&ECDH_P256, &ring::test::rand::FixedSliceRandom { bytes: &bytes }).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(&[info], Bytes(N)).ok()?.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8291, appendix A.
    #[test]
    fn the_browser_reads_what_the_rfc_s_browser_reads() {
        let body = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        let plain = open(&decode(body).unwrap()).unwrap();
        assert_eq!(plain, b"When I grow up, I want to be a watermelon");
        assert_eq!(open(&decode(body).unwrap()[..100]), None);
    }
}

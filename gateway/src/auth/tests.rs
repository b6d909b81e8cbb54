//! Every accepted kind of token is read, and every known attack on them is refused.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::keys::{KeyError, KeySet};
use super::*;

const NOW: Wall = Wall(1_800_000_000_000_000);
const NOW_S: i64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", b64(tag))
}

fn hs(claims: &Value) -> String {
    hs256(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

fn claims() -> Value {
    json!({"sub": "ada", "exp": NOW_S + 60})
}

fn with_keys(files: &[&[u8]], audience: Option<&str>) -> Authenticator {
    let mut keys = KeySet::default();
    for file in files {
        keys.add_file(file).expect("a good key");
    }
    let origins = ["https://a.example".to_owned()];
    Authenticator::new(Beliefs { keys, audience, origins: &origins, ..Beliefs::default() })
}

fn read(authenticator: &Authenticator, token: &str) -> Result<Identity, AuthError> {
    let credentials = Credentials { token: Some(token), ..Credentials::default() };
    match authenticator.authenticate(credentials, NOW)? {
        Decision::Known(identity) => Ok(identity),
        Decision::Redeem(_) => panic!("a token is no ticket"),
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let body = BASE64.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// SubjectPublicKeyInfo of a P-256 point and of an Ed25519 key: a fixed prefix and the key (RFC 5480, RFC
/// 8410).
fn p256_pem(point: &[u8]) -> Vec<u8> {
    let mut der =
        data_encoding::HEXLOWER.decode(b"3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    der.extend_from_slice(point);
    pem("PUBLIC KEY", &der)
}

fn ed25519_pem(key: &[u8]) -> Vec<u8> {
    let mut der = data_encoding::HEXLOWER.decode(b"302a300506032b6570032100").unwrap();
    der.extend_from_slice(key);
    pem("PUBLIC KEY", &der)
}

fn es256_pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

fn es256(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", b64(signature))
}

fn eddsa_pair() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

fn eddsa(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    format!("{message}.{}", b64(pair.sign(message.as_bytes())))
}

/// An RSA key and a token signed with it, made once by OpenSSL: `ring` generates no RSA keys.
mod rsa {
    pub(super) const PUBLIC_PEM: &[u8] = include_bytes!("testdata/rsa_public.pem");
    pub(super) const PRIVATE_DER: &[u8] = include_bytes!("testdata/rsa_private.der");
}

fn rs256(header: &Value, claims: &Value) -> String {
    let pair = ring::signature::RsaKeyPair::from_der(rsa::PRIVATE_DER).unwrap();
    let message = unsigned(header, claims);
    let mut signature = vec![0; pair.public().modulus_len()];
    let padding = &ring::signature::RSA_PKCS1_SHA256;
    pair.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", b64(signature))
}

#[test]
fn all_four_algorithms_are_read_from_key_files() {
    let ec = es256_pair();
    let ed = eddsa_pair();
    let ec_pem = p256_pem(ec.public_key().as_ref());
    let ed_pem = ed25519_pem(ed.public_key().as_ref());
    let all = with_keys(&[SECRET, rsa::PUBLIC_PEM, &ec_pem, &ed_pem], None);
    let tokens = [
        hs(&claims()),
        rs256(&json!({"alg": "RS256"}), &claims()),
        es256(&ec, &json!({"alg": "ES256"}), &claims()),
        eddsa(&ed, &json!({"alg": "EdDSA"}), &claims()),
    ];
    for token in tokens {
        let identity = read(&all, &token).unwrap();
        assert_eq!(identity.user, "ada");
        assert_eq!(identity.expires, Some(Wall((NOW_S + 60) * 1_000_000)));
    }
    let other = with_keys(&[&p256_pem(es256_pair().public_key().as_ref())], None);
    let token = es256(&ec, &json!({"alg": "ES256"}), &claims());
    assert_eq!(read(&other, &token), Err(AuthError::Signature));
}

#[test]
fn all_four_algorithms_are_read_from_a_jwks() {
    let ec = es256_pair();
    let ed = eddsa_pair();
    let point = ec.public_key().as_ref();
    let rsa = ring::signature::RsaKeyPair::from_der(rsa::PRIVATE_DER).unwrap();
    let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let jwks = json!({"keys": [
        {"kty": "oct", "kid": "h", "k": b64(SECRET), "alg": "HS256"},
        {"kty": "RSA", "kid": "r", "n": b64(components.n), "e": b64(components.e), "use": "sig"},
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])},
        {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(ed.public_key())},
        {"kty": "RSA", "kid": "enc", "n": "AQAB", "e": "AQAB", "use": "enc"},
        {"kty": "EC", "kid": "p384", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "made-up", "kid": "x"},
    ]});
    let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    let node = Authenticator::new(Beliefs { keys, ..Beliefs::default() });
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let good = [
        hs256(&header("HS256", "h"), &claims(), SECRET),
        rs256(&header("RS256", "r"), &claims()),
        es256(&ec, &header("ES256", "e"), &claims()),
        eddsa(&ed, &header("EdDSA", "d"), &claims()),
        es256(&ec, &json!({"alg": "ES256"}), &claims()),
    ];
    for token in good {
        assert_eq!(read(&node, &token).map(|identity| identity.user), Ok("ada".to_owned()));
    }
    let wrong_kid = es256(&ec, &header("ES256", "d"), &claims());
    assert_eq!(read(&node, &wrong_kid), Err(AuthError::NoKey));
    let unknown_kid = es256(&ec, &header("ES256", "zz"), &claims());
    assert_eq!(read(&node, &unknown_kid), Err(AuthError::NoKey));
}

#[test]
fn attacks_on_the_signature_are_refused() {
    let ec = es256_pair();
    let ec_pem = p256_pem(ec.public_key().as_ref());
    let node = with_keys(&[SECRET, rsa::PUBLIC_PEM, &ec_pem], None);
    let good = hs(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none =
        |alg: &str, signature: &str| format!("{}.{signature}", unsigned(&json!({"alg": alg}), &claims()));
    let changed =
        format!("{}.{}.{}", parts[0], b64(json!({"sub": "eve", "exp": NOW_S + 60}).to_string()), parts[2]);
    let attacks = [
        ("none", none("none", "")),
        ("None", none("None", "")),
        ("NONE with a signature", none("NONE", parts[2])),
        ("HS256 without a signature", none("HS256", "")),
        ("changed claims", changed),
        ("cut signature", good[..good.len() - 2].to_owned()),
        ("public RSA key as the secret", hs256(&json!({"alg": "HS256"}), &claims(), rsa::PUBLIC_PEM)),
        ("public EC key as the secret", hs256(&json!({"alg": "HS256"}), &claims(), &ec_pem)),
        ("EC point as the secret", hs256(&json!({"alg": "HS256"}), &claims(), ec.public_key().as_ref())),
        ("wrong secret", hs256(&json!({"alg": "HS256"}), &claims(), b"another secret of thirty-two byte")),
        ("empty secret", hs256(&json!({"alg": "HS256"}), &claims(), b"")),
        ("HS512 header", hs256(&json!({"alg": "HS512"}), &claims(), SECRET)),
        ("RS256 header on HS256", hs256(&json!({"alg": "RS256"}), &claims(), SECRET)),
        ("ES256 header on HS256", hs256(&json!({"alg": "ES256"}), &claims(), SECRET)),
        ("PS256 header on RS256", rs256(&json!({"alg": "PS256"}), &claims())),
        ("no alg", format!("{}.{}", unsigned(&json!({"typ": "JWT"}), &claims()), parts[2])),
        (
            "critical extension",
            hs256(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &claims(), SECRET),
        ),
        (
            "key in the header",
            hs256(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": b64("mine")}}), &claims(), b"mine"),
        ),
        (
            "all-zero ECDSA signature",
            format!("{}.{}", unsigned(&json!({"alg": "ES256"}), &claims()), b64([0; 64])),
        ),
        ("four parts", format!("{good}.x")),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("no parts", "garbage".to_owned()),
        ("empty", String::new()),
        ("padded", format!("{good}==")),
        ("a space", format!("{good} ")),
        ("not UTF-8 in base64", format!("{}.{}.{}", b64([0xff, 0xfe]), parts[1], parts[2])),
        ("a deep header", format!("{}.{}.{}", b64("[".repeat(5_000)), parts[1], parts[2])),
    ];
    for (name, token) in attacks {
        let read = read(&node, &token);
        assert!(read.is_err(), "{name} was believed: {read:?}");
    }
    assert!(read(&node, &good).is_ok());
}

#[test]
fn claims_are_checked_against_the_time_that_is_given() {
    let node = with_keys(&[SECRET], None);
    let table = [
        (json!({"sub": "ada"}), Err(AuthError::Claims)),
        (json!({"exp": NOW_S + 60}), Err(AuthError::Claims)),
        (json!({"sub": "", "exp": NOW_S + 60}), Err(AuthError::Claims)),
        (json!({"sub": 7, "exp": NOW_S + 60}), Err(AuthError::Claims)),
        (json!({"sub": "a\nb", "exp": NOW_S + 60}), Err(AuthError::Claims)),
        (json!({"sub": "x".repeat(257), "exp": NOW_S + 60}), Err(AuthError::Claims)),
        (json!({"sub": "ada", "exp": "2100-01-01"}), Err(AuthError::Claims)),
        (json!({"sub": "ada", "exp": 1e300}), Err(AuthError::Claims)),
        (json!({"sub": "ada", "exp": -5}), Err(AuthError::Claims)),
        (json!({"sub": "ada", "exp": NOW_S}), Err(AuthError::Expired)),
        (json!({"sub": "ada", "exp": NOW_S - 1}), Err(AuthError::Expired)),
        (json!({"sub": "ada", "exp": NOW_S + 60, "nbf": NOW_S + 1}), Err(AuthError::TooEarly)),
        (json!({"sub": "ada", "exp": NOW_S + 60, "aud": "someone"}), Err(AuthError::Audience)),
        (json!({"sub": "ada", "exp": NOW_S + 60, "nbf": NOW_S}), Ok(())),
        (json!({"sub": "ada", "exp": NOW_S as f64 + 0.5}), Ok(())),
    ];
    for (claims, expected) in table {
        assert_eq!(read(&node, &hs(&claims)).map(|_| ()), expected, "{claims}");
    }
    let twice = format!(r#"{{"sub":"ada","sub":"eve","exp":{}}}"#, NOW_S + 60);
    let message = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(twice));
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET), message.as_bytes());
    assert_eq!(read(&node, &format!("{message}.{}", b64(tag))), Err(AuthError::Claims));
}

#[test]
fn an_audience_that_is_asked_for_must_be_there() {
    let node = with_keys(&[SECRET], Some("tocsin"));
    let token = |aud: Value| hs(&json!({"sub": "ada", "exp": NOW_S + 60, "aud": aud}));
    assert!(read(&node, &token(json!("tocsin"))).is_ok());
    assert!(read(&node, &token(json!(["x", "tocsin"]))).is_ok());
    assert_eq!(read(&node, &token(json!("tocsin2"))), Err(AuthError::Audience));
    assert_eq!(read(&node, &token(json!([]))), Err(AuthError::Audience));
    assert_eq!(read(&node, &hs(&claims())), Err(AuthError::Audience));
}

#[test]
fn the_strongest_credential_counts_and_a_name_mends_nothing() {
    let own_origins = ["http://127.0.0.1:8080".to_owned()];
    let beliefs = Beliefs { own_origins: &own_origins, local_user: true, ..Beliefs::default() };
    let local = Authenticator::new(beliefs);
    let given = |token, ticket, user| Credentials { token, ticket, user, host: "127.0.0.1:8080" };
    let known = |user: &str| Decision::Known(Identity { user: user.to_owned(), expires: None });
    assert!(local.authenticate(given(None, None, Some("ada")), NOW) == Ok(known("ada")));
    assert!(local.authenticate(given(Some("x.y.z"), None, Some("ada")), NOW) == Err(AuthError::Malformed));
    assert!(
        local.authenticate(given(None, Some("T"), Some("ada")), NOW) == Ok(Decision::Redeem("T".to_owned()))
    );
    assert!(local.authenticate(given(None, Some(""), Some("ada")), NOW) == Err(AuthError::Ticket));
    assert!(local.authenticate(given(None, None, Some("")), NOW) == Err(AuthError::Claims));
    assert!(local.authenticate(given(None, None, None), NOW) == Err(AuthError::Nothing));
    let rebound = Credentials { user: Some("ada"), host: "evil.example:8080", ..Credentials::default() };
    assert!(local.authenticate(rebound, NOW) == Err(AuthError::NameOnly), "a name rebound to loopback");
    let remote = with_keys(&[SECRET], None);
    assert!(remote.authenticate(given(None, None, Some("ada")), NOW) == Err(AuthError::NameOnly));
    assert!(remote.allows_origin(None) && remote.allows_origin(Some("https://a.example")));
    assert!(!remote.allows_origin(Some("null")) && !remote.allows_origin(Some("https://b.example")));
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let mut keys = KeySet::default();
    assert_eq!(keys.add_file(b"short"), Err(KeyError::Unusable));
    assert_eq!(keys.add_file(b""), Err(KeyError::Unusable));
    assert_eq!(keys.add_file(&pem("PUBLIC KEY", b"nonsense")), Err(KeyError::Unusable));
    assert_eq!(keys.add_file(&pem("PRIVATE KEY", b"nonsense")), Err(KeyError::Private));
    assert!(keys.add_file(&[SECRET, b"\n"].concat()).is_ok());
    assert!(KeySet::from_jwks(b"{}").is_err());
    assert_eq!(KeySet::from_jwks(br#"{"keys":[]}"#).unwrap_err(), KeyError::Empty);
    let short = json!({"keys": [{"kty": "oct", "k": b64("short")}]}).to_string();
    assert!(KeySet::from_jwks(short.as_bytes()).is_err());
    let many = json!({"keys": vec![json!({}); 65]}).to_string();
    assert_eq!(KeySet::from_jwks(many.as_bytes()).unwrap_err(), KeyError::TooMany);
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let node = with_keys(&[SECRET], None);
    let shown = format!("{node:?}");
    assert!(!shown.contains("0123456789"), "{shown}");
    assert!(!shown.contains("48, 49, 50"), "{shown}");
}

//! Who the clients say they are: a name for each, and what proves it. Pure; secrets are read by `main`'s porch.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

/// How a client proves its name.
#[derive(Clone)]
pub enum Proof {
    /// `?user=NAME`, which a standalone gateway takes on loopback.
    Query,
    /// Client `n` carries line `n` (round and round) of a file of tokens. The server takes the name from the token.
    Tokens(std::sync::Arc<[String]>),
    /// A JWT of our own making for each name, HS256.
    Hs256 { key: hmac::Key, audience: Option<String>, expires_unix_s: i64 },
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Proof::Query => "Query",
            Proof::Tokens(_) => "Tokens(…)",
            Proof::Hs256 { .. } => "Hs256(…)",
        })
    }
}

/// All clients' names and proofs.
#[derive(Debug, Clone)]
pub struct Users {
    pub prefix: String,
    pub proof: Proof,
}

impl Users {
    pub fn name(&self, client: u32) -> String {
        format!("{}{client}", self.prefix)
    }

    /// The bearer token of a client; `None` where the name in the query is proof enough.
    pub fn token(&self, client: u32) -> Option<String> {
        match &self.proof {
            Proof::Query => None,
            Proof::Tokens(tokens) => tokens.get(client as usize % tokens.len().max(1)).cloned(),
            Proof::Hs256 { key, audience, expires_unix_s } => {
                let mut claims = serde_json::json!({ "sub": self.name(client), "exp": expires_unix_s });
                if let Some(audience) = audience {
                    claims["aud"] = audience.as_str().into();
                }
                Some(jwt(key, &claims.to_string()))
            }
        }
    }
}

/// RFC 7519 with the one algorithm that needs no key pair.
fn jwt(key: &hmac::Key, claims: &str) -> String {
    let head = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = BASE64URL_NOPAD.encode(hmac::sign(key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// The lines of a token file, without blanks and comments.
pub fn parse_tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=".contains(&b)) {
            return Err(format!("line {} is not a bearer token", at + 1));
        }
        tokens.push(line.to_owned());
    }
    if tokens.is_empty() { Err("there is no token in it".to_owned()) } else { Ok(tokens) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_one_of_rfc_7515() {
        // The example of RFC 7515, appendix A.1, has its own spelling of the header, so only claims and key are compared
        // here: signed text and signature verify with the same key.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret of thirty-two bytes, or so");
        let proof = Proof::Hs256 { key: key.clone(), audience: Some("app".to_owned()), expires_unix_s: 99 };
        let token = Users { prefix: "u".to_owned(), proof }.token(7).expect("a token");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url");
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
        let claims = BASE64URL_NOPAD
            .decode(signed.split_once('.').expect("two parts").1.as_bytes())
            .expect("base64url");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims, serde_json::json!({ "sub": "u7", "exp": 99, "aud": "app" }));
    }

    #[test]
    fn tokens_go_round_and_junk_is_refused_by_line() {
        let tokens = parse_tokens("# two\na.b.c\n\nd.e.f\n").expect("tokens");
        let users = Users { prefix: String::new(), proof: Proof::Tokens(tokens.into()) };
        assert_eq!(users.token(2).as_deref(), Some("a.b.c"));
        assert_eq!(parse_tokens("a\nb c").expect_err("junk"), "line 2 is not a bearer token");
        assert!(parse_tokens("\n#\n").is_err());
    }

    #[test]
    fn secrets_never_show() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"canary");
        for proof in [
            Proof::Tokens(vec!["canary".to_owned()].into()),
            Proof::Hs256 { key, audience: None, expires_unix_s: 0 },
        ] {
            assert!(!format!("{proof:?}").contains("canary"));
        }
    }
}

//! Access tokens of a service account, from Google's token server: fetched once for all who wait, and before the old one ends.
//!
//! Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use ops::clock::Clock;
use ring::signature::RsaKeyPair;
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;
use wire::time::Mono;

use super::classify::{Meaning, Speaker, meaning};
use super::http::{Http, Lost, Version};
use super::letter::{Class, Refusal};
use super::unreached::Unreached;
use super::{jwt, keys, reply};
use crate::config::FcmConfig;
use crate::limits::CARRIER_PATIENCE;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Of what we sign: the longest that Google takes.
const ASSERTION_S: i64 = 3_600;
/// A token that ends within this is replaced, by one request, while the others go on with it.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// A token that ends within this is not used any more.
const USED_BEFORE: Duration = Duration::from_secs(30);
/// After a failure nobody asks again for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// After a refused token was replaced, so is no other for so long: the next one would be refused, too.
const REPLACED_EVERY: Duration = Duration::from_secs(60);

/// The current token, and the way to the next.
pub struct Tokens {
    http: Http,
    key: RsaKeyPair,
    config: FcmConfig,
    clock: Clock,
    current: Mutex<Option<Token>>,
    /// Held by the one who fetches.
    gate: tokio::sync::Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    failed: Option<(Mono, Refusal)>,
    replaced: Option<Mono>,
}

#[derive(Clone)]
struct Token {
    text: Arc<str>,
    ends: Mono,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    error: Option<String>,
    error_description: String,
}

impl Tokens {
    pub fn new(config: &FcmConfig, clock: Clock) -> Tokens {
        Tokens {
            http: Http::new(Version::Http1, CARRIER_PATIENCE, &config.trust),
            key: keys::rsa(config.private_key.reveal()).expect("the settings tried it"),
            config: config.clone(),
            clock,
            current: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
        }
    }

    /// A token that is good for a while.
    pub async fn token(&self) -> Result<Arc<str>, Refusal> {
        if let Some(token) = self.current() {
            let left = token.ends.since(self.clock.mono());
            if left > RENEWED_BEFORE {
                return Ok(token.text);
            }
            if left > USED_BEFORE {
                // Whoever comes first renews it; a failure is felt only when nothing else is left.
                return match self.gate.try_lock() {
                    Ok(mut gate) => Ok(self.fetch(&mut gate).await.unwrap_or(token.text)),
                    Err(_) => Ok(token.text),
                };
            }
        }
        self.another_than("").await
    }

    /// A token that is not `refused`; that one itself, if another was refused just before.
    pub async fn another_than(&self, refused: &str) -> Result<Arc<str>, Refusal> {
        let mut gate = self.gate.lock().await;
        // Somebody else may have been here while we waited.
        if let Some(token) = self.current()
            && *token.text != *refused
            && token.ends.since(self.clock.mono()) > USED_BEFORE
        {
            return Ok(token.text);
        }
        let now = self.clock.mono();
        if !refused.is_empty() {
            if gate.replaced.is_some_and(|at| now.since(at) < REPLACED_EVERY) {
                return Ok(refused.into());
            }
            gate.replaced = Some(now);
        }
        self.fetch(&mut gate).await
    }

    fn current(&self) -> Option<Token> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self, gate: &mut Gate) -> Result<Arc<str>, Refusal> {
        let asked = self.clock.mono();
        if let Some((at, refusal)) = &gate.failed
            && asked.since(*at) < AGAIN_AFTER
        {
            return Err(refusal.clone());
        }
        match self.ask().await {
            Ok(given) => {
                let text: Arc<str> = given.access_token.into();
                let token =
                    Token { text: Arc::clone(&text), ends: asked + Duration::from_secs(given.expires_in) };
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                gate.failed = None;
                Ok(text)
            }
            Err(refusal) => {
                gate.failed = Some((self.clock.mono(), refusal.clone()));
                Err(refusal)
            }
        }
    }

    async fn ask(&self) -> Result<Given, Refusal> {
        let form = [("grant_type", GRANT), ("assertion", &self.assertion())];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(self.config.token_uri.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .expect("an address that the settings checked");
        // Nothing was sent to anybody yet, however this ends.
        let fault = |detail: String| refusal(Class::Fault, "token".to_owned(), detail);
        let answer = self.http.send(request).await.map_err(|lost| match lost {
            Lost::Before(Unreached { code, why }) => refusal(Class::Fault, format!("token {code}"), why),
            Lost::After(why) => fault(why),
        })?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body)
                .map_err(|_| fault("the token server's answer has no token".to_owned()));
        }
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = answer.status.as_u16();
        let class = match meaning(Speaker::Google, status, problem.error.as_deref()) {
            Meaning::No(class) => class,
            Meaning::Unsure => Class::Fault,
        };
        let code = problem.error.unwrap_or_else(|| format!("token HTTP {status}"));
        let detail = problem.error_description.chars().filter(|c| !c.is_control()).take(200).collect();
        Err(Refusal {
            retry_after: reply::retry_after(&answer.headers, self.clock.wall()),
            ..refusal(class, code, detail)
        })
    }

    fn assertion(&self) -> String {
        let now = self.clock.wall().millis() / 1_000;
        let claims = json!({
            "iss": self.config.client_email,
            "scope": SCOPE,
            "aud": self.config.token_uri.as_str(),
            "iat": now,
            "exp": now + ASSERTION_S,
        });
        jwt::rs256(&self.key, &self.config.private_key_id, &claims)
    }
}

fn refusal(class: Class, code: String, detail: String) -> Refusal {
    Refusal { class, code, detail, retry_after: None }
}

//! Who a client is: tokens, tickets and, on a developer's own machine, a name.
//!
//! Owns the order in which credentials count, the checks of a token's claims, and whether an origin may
//! connect. A token never reaches a log, an error or a metric. Never reads a file (`keys` is given their
//! content) or a clock. Called by `shard` for every request that needs a user.

pub mod keys;
pub mod origin;
mod verifier;

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use wire::limits::NAME_BYTES_MAX;
use wire::time::Wall;

use crate::auth::keys::KeySet;
use crate::auth::origin::Origin;

/// What a request says about who it is from. The strongest that it carries counts; a wrong token is not made
/// good by a name beside it.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `Authorization: Bearer …`, or the `bearer.…` subprotocol.
    pub token: Option<&'a str>,
    /// `?ticket=…`.
    pub ticket: Option<&'a str>,
    /// `?user=…`.
    pub user: Option<&'a str>,
    /// The request's `Host`.
    pub host: &'a str,
}

/// A client that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    /// When the proof ends; the connection ends with it (4401).
    pub expires: Option<Wall>,
}

/// The answer to credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Decision {
    Known(Identity),
    /// A router knows whether this ticket is good, and whose it is.
    Redeem(String),
}

impl std::fmt::Debug for Credentials<'_> {
    /// Which there are, never what they are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.is_some())
            .field("ticket", &self.ticket.is_some())
            .field("user", &self.user)
            .finish()
    }
}

impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Decision::Known(identity) => f.debug_tuple("Known").field(identity).finish(),
            Decision::Redeem(_) => f.write_str("Redeem"),
        }
    }
}

/// Why credentials are refused, in words that may be logged and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no token, ticket or user was given")]
    Nothing,
    #[error("the token is not a signed token of a kind that is accepted here")]
    Malformed,
    #[error("no key here fits the token")]
    NoKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is not for this audience")]
    Audience,
    #[error("the token lacks a claim, or a claim is malformed")]
    Claims,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    TooEarly,
    #[error("a name is not enough here: bring a token or a ticket")]
    NameOnly,
    #[error("the ticket is unknown, used or expired")]
    Ticket,
}

/// What a node believes. Replaced as a whole by a reload.
#[derive(Debug)]
pub struct Authenticator {
    keys: KeySet,
    /// One for each algorithm, since a key serves one only.
    validations: HashMap<Algorithm, Validation>,
    origins: Vec<Origin>,
    own_origins: Vec<Origin>,
    local_user: bool,
}

/// What an [`Authenticator`] is made of.
#[derive(Debug, Default)]
pub struct Beliefs<'a> {
    pub keys: KeySet,
    /// The `aud` that tokens must carry.
    pub audience: Option<&'a str>,
    /// Origins of pages that may connect.
    pub origins: &'a [String],
    /// The origins under which this gateway itself is reached. A name is believed, and the console is told
    /// its secrets, only under these: a page that had its own name resolve to loopback is under another.
    pub own_origins: &'a [String],
    /// Whether `?user=NAME` is believed.
    pub local_user: bool,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, perhaps with a fraction (RFC 7519 §2, NumericDate).
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

impl Authenticator {
    /// Origins that do not parse were refused by the configuration's check.
    pub fn new(beliefs: Beliefs<'_>) -> Authenticator {
        let Beliefs { keys, audience, origins, own_origins, local_user } = beliefs;
        verifier::install();
        let validations =
            keys.algorithms().map(|algorithm| (algorithm, validation(algorithm, audience))).collect();
        let parsed = |texts: &[String]| texts.iter().filter_map(|text| Origin::parse(text)).collect();
        let (origins, own_origins) = (parsed(origins), parsed(own_origins));
        Authenticator { keys, validations, origins, own_origins, local_user }
    }

    /// Whether a request's `Host` is this gateway's own.
    pub fn is_own_host(&self, host: &str) -> bool {
        let is_own = |scheme: &str| {
            let origin = Origin::parse(&format!("{scheme}://{host}"));
            origin.is_some_and(|origin| self.own_origins.contains(&origin))
        };
        is_own("http") || is_own("https")
    }

    /// Whether a page of this origin may connect. A client that is no browser names none.
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|text| Origin::parse(text).is_some_and(|origin| self.origins.contains(&origin)))
    }

    pub fn authenticate(&self, credentials: Credentials<'_>, now: Wall) -> Result<Decision, AuthError> {
        if let Some(token) = credentials.token {
            return self.read_token(token, now).map(Decision::Known);
        }
        if let Some(ticket) = credentials.ticket {
            let fits = !ticket.is_empty() && ticket.len() <= NAME_BYTES_MAX;
            return if fits { Ok(Decision::Redeem(ticket.to_owned())) } else { Err(AuthError::Ticket) };
        }
        match credentials.user {
            Some(user) if self.local_user && self.is_own_host(credentials.host) => {
                let user = checked_name(user).ok_or(AuthError::Claims)?;
                Ok(Decision::Known(Identity { user, expires: None }))
            }
            Some(_) => Err(AuthError::NameOnly),
            None => Err(AuthError::Nothing),
        }
    }

    fn read_token(&self, token: &str, now: Wall) -> Result<Identity, AuthError> {
        use jsonwebtoken::errors::ErrorKind;
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: what must be understood and is not is refused.
            return Err(AuthError::Malformed);
        }
        let mut refusal = AuthError::NoKey;
        for key in self.keys.fitting(header.alg, header.kid.as_deref()) {
            let validation = &self.validations[&key.algorithm()];
            match jsonwebtoken::decode::<Claims>(token, key.decoding(), validation) {
                Ok(token) => return identity(&token.claims, now),
                Err(why) => {
                    refusal = match why.kind() {
                        ErrorKind::InvalidSignature => AuthError::Signature,
                        ErrorKind::InvalidAudience => AuthError::Audience,
                        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => AuthError::Audience,
                        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => AuthError::Claims,
                        _ => AuthError::Malformed,
                    };
                }
            }
            if refusal != AuthError::Signature {
                break;
            }
        }
        Err(refusal)
    }
}

fn validation(algorithm: Algorithm, audience: Option<&str>) -> Validation {
    // The clock is ours to read: exp and nbf are checked against the time that we are handed.
    let mut validation =
        Validation { validate_exp: false, validate_nbf: false, ..Validation::new(algorithm) };
    validation.set_required_spec_claims(&["exp", "sub"]);
    if let Some(audience) = audience {
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "sub", "aud"]);
    }
    validation
}

fn identity(claims: &Claims, now: Wall) -> Result<Identity, AuthError> {
    let user = checked_name(&claims.sub).ok_or(AuthError::Claims)?;
    let expires = date(claims.exp).ok_or(AuthError::Claims)?;
    let begins = claims.nbf.map(|nbf| date(nbf).ok_or(AuthError::Claims)).transpose()?;
    if expires <= now {
        return Err(AuthError::Expired);
    }
    if begins.is_some_and(|begins| begins > now) {
        return Err(AuthError::TooEarly);
    }
    Ok(Identity { user, expires: Some(expires) })
}

fn date(seconds: f64) -> Option<Wall> {
    // Up to the year 9999; past that it is no date but an attempt.
    (seconds.is_finite() && (0.0..=253_402_300_799.0).contains(&seconds))
        .then_some(Wall((seconds * 1_000_000.0) as i64))
}

/// A user id or device name: 1 to 256 bytes, no control characters.
pub fn checked_name(name: &str) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests;

//! What an API says when it refuses: `application/problem+json` (RFC 9457).
//!
//! Owns the kinds of refusal, each with one status and one stable name. Never carries a key, a token or a
//! request's text, but for the name of a field.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

/// Why a request is refused. The name is the contract; the detail is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 400: not the shape or bounds that the contract gives.
    Malformed,
    /// 401: no key, or a wrong one.
    Unauthenticated,
    /// 403: a right is missing.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    TooSlow,
    /// 409: a request with the same key is on its way.
    KeyInFlight,
    /// 410: it was there, and can be used no more.
    Over,
    /// 413.
    TooLarge,
    /// 421: another router has it.
    Elsewhere,
    /// 422: well formed, but it contradicts itself.
    Contradiction,
    /// 422: in the contract, but not in this build.
    NotBuiltYet,
    /// 422: the key was used with another body.
    KeyReused,
    /// 429: the service's quota is spent.
    QuotaSpent,
    /// 503: nothing durable can take it now.
    Unavailable,
}

impl Kind {
    pub fn status(self) -> u16 {
        match self {
            Kind::Malformed => 400,
            Kind::Unauthenticated => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::TooSlow => 408,
            Kind::KeyInFlight => 409,
            Kind::Over => 410,
            Kind::TooLarge => 413,
            Kind::Elsewhere => 421,
            Kind::Contradiction | Kind::NotBuiltYet | Kind::KeyReused => 422,
            Kind::QuotaSpent => 429,
            Kind::Unavailable => 503,
        }
    }

    /// The last part of `type`, and the `outcome` label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Malformed => "malformed",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Forbidden => "forbidden",
            Kind::NotFound => "not_found",
            Kind::MethodNotAllowed => "method_not_allowed",
            Kind::TooSlow => "too_slow",
            Kind::KeyInFlight => "key_in_flight",
            Kind::Over => "over",
            Kind::TooLarge => "too_large",
            Kind::Elsewhere => "elsewhere",
            Kind::Contradiction => "contradiction",
            Kind::NotBuiltYet => "not_built_yet",
            Kind::KeyReused => "key_reused",
            Kind::QuotaSpent => "quota_spent",
            Kind::Unavailable => "unavailable",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Malformed => "The request does not have the shape of the contract",
            Kind::Unauthenticated => "A service key is needed",
            Kind::Forbidden => "The service has no right to this",
            Kind::NotFound => "There is no such thing",
            Kind::MethodNotAllowed => "This cannot be done here",
            Kind::TooSlow => "The body did not arrive in time",
            Kind::KeyInFlight => "A request with this Idempotency-Key is on its way",
            Kind::Over => "It can be used no more",
            Kind::TooLarge => "The request is too large",
            Kind::Elsewhere => "Another router has it",
            Kind::Contradiction => "The request contradicts itself",
            Kind::NotBuiltYet => "This part of the contract is not built yet",
            Kind::KeyReused => "The Idempotency-Key was used with another body",
            Kind::QuotaSpent => "The service's quota is spent",
            Kind::Unavailable => "Nothing durable can take it now",
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    /// JSON pointer (RFC 6901) of the field at fault.
    pub pointer: Option<String>,
    pub retry_after_s: Option<u32>,
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), pointer: None, retry_after_s: None }
    }

    /// A field at fault; `pointer` like `/to/users/3`.
    pub fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { pointer: Some(pointer.into()), ..Problem::new(kind, detail) }
    }

    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn to_json(&self) -> String {
        let shown = Shown {
            r#type: format!("urn:tocsin:problem:{}", self.kind.name()),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: &self.detail,
            pointer: self.pointer.as_deref(),
            retry_after_s: self.retry_after_s,
        };
        serde_json::to_string(&shown).expect("a problem is strings and numbers")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() =
            StatusCode::from_u16(self.kind.status()).expect("the table above has only real statuses");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let problem = Problem::at(Kind::Malformed, "/to/user", "1..=256 bytes").retry_after(3);
        let json: serde_json::Value = serde_json::from_str(&problem.to_json()).unwrap();
        assert_eq!(json["type"], "urn:tocsin:problem:malformed");
        assert_eq!(json["status"], 400);
        assert_eq!(json["pointer"], "/to/user");
        assert_eq!(json["detail"], "1..=256 bytes");
        assert!(json["title"].is_string());
    }
}

//! The router's API, and any other HTTP: one request, one answer, whatever the status.

use std::time::Duration;

use serde_json::Value;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Response {
    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Itself, if the status is this.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that this is `application/problem+json` with what RFC 9457 wants, and gives back its detail.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "{status} has content type {kind:?}: {}",
            self.text
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].is_string() && problem["type"].is_string(), "{problem}");
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// A service that speaks to a router.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    key: String,
    agent: ureq::Agent,
}

/// One request that failed before an answer came.
pub type NoAnswer = ureq::Error;

impl Api {
    pub fn new(base: &str, key: &str) -> Api {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL))
            .max_redirects(0)
            .build();
        Api { base: base.trim_end_matches('/').to_owned(), key: key.to_owned(), agent: config.into() }
    }

    /// The same service, known by another key.
    pub fn with_key(&self, key: &str) -> Api {
        Api { key: key.to_owned(), ..self.clone() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request. `body`: sent as it is.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, NoAnswer> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let headers = answer.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        let text =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string()?;
        Ok(Response { status: answer.status().as_u16(), headers, text })
    }

    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let json = [("content-type", "application/json")];
        self.request(method, path, &json, Some(body.to_string().as_bytes()))
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Hands a notification in.
    #[track_caller]
    pub fn post(&self, notification: &Value) -> Response {
        self.send("POST", "/v1/notifications", notification)
    }

    /// Hands a notification in under an idempotency key.
    pub fn post_once(&self, key: &str, notification: &Value) -> Result<Response, NoAnswer> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = notification.to_string();
        self.request("POST", "/v1/notifications", &headers, Some(body.as_bytes()))
    }

    /// Hands a notification in that must be taken; gives back its id.
    ///
    /// # Panics
    /// When it is not taken.
    #[track_caller]
    pub fn accepted(&self, notification: &Value) -> String {
        let answer = self.post(notification).expect(202).json();
        answer["id"].as_str().unwrap_or_else(|| panic!("a 202 has an id: {answer}")).to_owned()
    }

    /// Hands many in as one batch (NDJSON); all must be taken; gives back their ids.
    ///
    /// # Panics
    /// When one is not taken.
    #[track_caller]
    pub fn accepted_batch(&self, notifications: &[Value]) -> Vec<String> {
        let lines = notifications.iter().fold(String::new(), |lines, one| lines + &one.to_string() + "\n");
        let headers = [("content-type", "application/x-ndjson")];
        let answer = self
            .request("POST", "/v1/notifications/batch", &headers, Some(lines.as_bytes()))
            .unwrap_or_else(|error| panic!("a batch: {error}"));
        assert!(answer.status == 200 || answer.status == 202, "{} {}", answer.status, answer.text);
        let ids: Vec<String> = answer
            .text
            .lines()
            .map(|line| {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|_| panic!("a result line: {line}"));
                line["id"].as_str().unwrap_or_else(|| panic!("a line was not taken: {line}")).to_owned()
            })
            .collect();
        assert_eq!(ids.len(), notifications.len(), "one result line each");
        ids
    }

    /// The ledger's equation.
    #[track_caller]
    pub fn reconcile(&self) -> Value {
        self.get("/v1/reconcile").expect(200).json()
    }
}

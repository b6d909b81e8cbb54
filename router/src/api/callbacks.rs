//! `POST /v1/callbacks/twilio` and `/v1/callbacks/ses`: what providers tell afterwards. No key: each message proves itself.
//!
//! Answers 2xx only when the news is taken on, so that a provider tells again what was not. Hands receipts to whoever
//! takes them; whether one is the second of its kind, or late, is decided there.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use ops::clock::Clock;
use url::Url;

use super::problem::Kind;
use super::{App, body};
use crate::config::{Hidden, ProviderConfig};
use crate::limits::{BODY_WITHIN, CALLBACK_BYTES_MAX};
use crate::owner::{Command, Receipt, Told};
use crate::provider::callback::certificates::{NotTaken, Sns};
use crate::provider::callback::sns::{Believed, Source};
use crate::provider::callback::twilio::{self, Disbelief};
use crate::provider::callback::{self, What};

const TWILIO: &str = "/v1/callbacks/twilio";
const SES: &str = "/v1/callbacks/ses";
/// All of them.
pub const PATHS: [&str; 2] = [TWILIO, SES];

/// Takes news on.
#[async_trait]
pub trait News: Send + Sync {
    /// `false`: not now; the provider tells it again.
    async fn take(&self, receipt: callback::Receipt) -> bool;
}

/// To the owner; taken on once it is committed. What nobody knows is not told better a second time.
#[async_trait]
impl News for App {
    async fn take(&self, receipt: callback::Receipt) -> bool {
        let callback::Receipt { delivery, what, to, reference: _, at: _ } = receipt;
        let receipt = match what {
            What::Delivered => Receipt::Delivered,
            What::Failed { class, code } => Receipt::Failed { class, code },
            What::OptedOut => Receipt::OptedOut,
            What::Bounced { permanent } => Receipt::Bounced { permanent },
            What::Complained => Receipt::Complained,
        };
        let told = Told { channel: delivery.channel, delivery: Some(delivery), to, receipt };
        match self.command(Command::Receipt(told)).await {
            Ok(_) => true,
            Err(problem) => problem.kind == Kind::NotFound,
        }
    }
}

/// Whose callbacks are believed, and who is told.
#[derive(Clone)]
pub struct Callbacks(Arc<Parts>);

struct Parts {
    /// The address that Twilio was given, and the token that it signs with.
    twilio: Option<(Url, Hidden)>,
    sns: Option<Sns>,
    news: Arc<dyn News>,
    clock: Clock,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl Callbacks {
    pub fn new(config: &ProviderConfig, news: Arc<dyn News>, clock: Clock) -> Callbacks {
        let twilio = config.twilio.as_ref();
        let twilio =
            twilio.and_then(|twilio| Some((twilio.status_callback.clone()?, twilio.auth_token.clone()?)));
        let ses = config.ses.as_ref().filter(|ses| !ses.topic_arns.is_empty());
        let sns = ses.map(|ses| {
            if let Some(endpoint) = &ses.sns_endpoint {
                tracing::warn!(
                    "[provider.ses] sns_endpoint: {} is believed in place of AWS's SNS, whose own news is refused",
                    endpoint.authority()
                );
            }
            let from = Source { topics: ses.topic_arns.clone(), endpoint: ses.sns_endpoint.clone() };
            Sns::new(from, &ses.sns_trust(), clock)
        });
        Callbacks(Arc::new(Parts { twilio, sns, news, clock }))
    }

    /// The routes, to be merged into the API's, outside of its keys.
    pub fn routes(self) -> Router {
        Router::new().route(TWILIO, post(from_twilio)).route(SES, post(from_ses)).with_state(self)
    }

    async fn take(&self, receipt: Option<callback::Receipt>) -> StatusCode {
        let is_taken = match receipt {
            Some(receipt) => self.0.news.take(receipt).await,
            None => true,
        };
        if is_taken { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

/// Anybody may send one: within bounds of bytes and time.
async fn whole(body: Body) -> Result<Bytes, StatusCode> {
    let read = body::whole(body, CALLBACK_BYTES_MAX, BODY_WITHIN).await;
    read.map_err(|problem| StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::BAD_REQUEST))
}

async fn from_twilio(
    State(callbacks): State<Callbacks>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let Some((url, token)) = &callbacks.0.twilio else { return StatusCode::NOT_FOUND };
    let body = match whole(body).await {
        Ok(body) => body,
        Err(status) => return status,
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let told = twilio::Told {
        query: query.as_deref().unwrap_or_default(),
        is_json: text(header::CONTENT_TYPE.as_str()).starts_with("application/json"),
        body: &body,
        signature: text("x-twilio-signature"),
    };
    match twilio::read(&told, url, token, callbacks.0.clock.wall()) {
        Ok(receipt) => callbacks.take(receipt).await,
        Err(Disbelief::Forged) => StatusCode::FORBIDDEN,
        Err(Disbelief::Unreadable) => StatusCode::BAD_REQUEST,
    }
}

async fn from_ses(State(callbacks): State<Callbacks>, body: Body) -> StatusCode {
    let Some(sns) = &callbacks.0.sns else { return StatusCode::NOT_FOUND };
    let body = match whole(body).await {
        Ok(body) => body,
        Err(status) => return status,
    };
    match sns.read(&body, callbacks.0.clock.wall()).await {
        Ok(Believed::News(receipt)) => callbacks.take(receipt).await,
        Ok(Believed::Confirm(_)) => {
            tracing::info!("a topic of SNS was confirmed");
            StatusCode::NO_CONTENT
        }
        Ok(Believed::Ended) => {
            tracing::warn!("a topic of SNS tells nothing more: its subscription was ended");
            StatusCode::NO_CONTENT
        }
        Err(NotTaken::Disbelieved(why)) => {
            tracing::debug!(%why, "a message to /v1/callbacks/ses is not believed");
            StatusCode::FORBIDDEN
        }
        Err(NotTaken::Unreachable(why)) => {
            tracing::warn!(why, "a message of SNS cannot be proved");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

//! How a provider is spoken to by HTTP: one pool of connections an account, time-outs, bounded answers.
//!
//! Owns the difference between a request that nobody can have acted on ([`Lost::Before`]) and one of which nothing is known
//! ([`Lost::After`]): whether a message may be sent again hangs on it. Follows no redirect, reads no more of an answer
//! than it must. Called by the carriers; tries again by itself only what was certainly not processed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use super::trust::Trust;
use super::unreached::{Unreached, causes};
use crate::limits::{
    CARRIER_ANSWER_BYTES_MAX, CARRIER_BODY_WITHIN, CARRIER_CONNECT_WITHIN, CARRIER_IDLE, CARRIER_PING_EVERY,
    CARRIER_PING_WITHIN, CARRIER_REFUSED_TRIES, CARRIER_STREAMS_IDLE,
};

type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// What is spoken. Both over TLS, or in plain text with a simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    /// Many requests on one connection.
    Http2,
}

/// A provider's answer as it came.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// As much as came, and as much as is read.
    pub body: Bytes,
    /// The body came to its end.
    pub is_whole: bool,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Certainly nobody acted on it.
    #[error(transparent)]
    Before(Unreached),
    /// The request was on its way: it may have been acted on.
    #[error("{0}")]
    After(String),
}

/// A pool of connections.
#[derive(Clone)]
pub struct Http<R = GaiResolver> {
    client: Client<Within<HttpsConnector<HttpConnector<R>>>, Full<Bytes>>,
    /// How long it may take from a request to the head of its answer, connection included.
    patience: Duration,
    version: Version,
}

impl<R> std::fmt::Debug for Http<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Http {
    pub fn new(version: Version, patience: Duration, trust: &Trust) -> Http {
        Http::over(HttpConnector::new(), version, patience, trust)
    }
}

impl<R> Http<R>
where
    R: Clone + Send + Sync + 'static,
    Within<HttpsConnector<HttpConnector<R>>>:
        hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
    HttpConnector<R>: Service<Uri>,
{
    /// With a connector of the caller's: whom it reaches is its business.
    pub fn over(
        mut connector: HttpConnector<R>,
        version: Version,
        patience: Duration,
        trust: &Trust,
    ) -> Http<R> {
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CARRIER_CONNECT_WITHIN));
        let secured = HttpsConnectorBuilder::new().with_tls_config(trust.tls()).https_or_http();
        let connector = match version {
            Version::Http1 => secured.enable_http1().wrap_connector(connector),
            Version::Http2 => secured.enable_http2().wrap_connector(connector),
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(if version == Version::Http2 { CARRIER_STREAMS_IDLE } else { CARRIER_IDLE })
            .http1_max_headers(100)
            .http2_only(version == Version::Http2)
            // One connection an account: its rate is bounded by the streams that the server allows, 100 or more at Google and Apple.
            // No assumption about how many streams a server takes: it says so first.
            .http2_initial_max_send_streams(1)
            .http2_keep_alive_interval(CARRIER_PING_EVERY)
            .http2_keep_alive_timeout(CARRIER_PING_WITHIN);
        Http { client: builder.build(Within(connector)), patience, version }
    }

    /// One request. A connection that says it did not process it is replaced, and it is sent on the next one.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Lost> {
        match tokio::time::timeout(self.patience, self.until_processed(request)).await {
            Ok(Ok(response)) => Ok(read(response).await),
            Ok(Err(lost)) => Err(lost),
            Err(_) => Err(Lost::After(format!("no answer within {} s", self.patience.as_secs()))),
        }
    }

    async fn until_processed(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Lost> {
        let mut tries = 0;
        loop {
            let error = match self.client.request(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            tries += 1;
            // Also a connection that says goodbye while it is being made.
            let refused = was_refused(&error, self.version);
            if refused && tries < CARRIER_REFUSED_TRIES {
                continue;
            }
            let nobody_acted = refused || error.is_connect();
            return Err(if nobody_acted {
                Lost::Before(Unreached::of(&error))
            } else {
                Lost::After(reason(&error))
            });
        }
    }
}

/// Whatever of the body comes in time; a status counts also when its body breaks off, or never ends.
async fn read(response: Response<Incoming>) -> Reply {
    let (head, mut body) = response.into_parts();
    let until = tokio::time::sleep(CARRIER_BODY_WITHIN);
    tokio::pin!(until);
    let mut is_whole = false;
    let mut read = Vec::with_capacity(body.size_hint().lower().min(4_096) as usize);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut until => break,
        };
        let Some(Ok(frame)) = frame else {
            is_whole = frame.is_none();
            break;
        };
        let Ok(data) = frame.into_data() else { continue };
        let room = CARRIER_ANSWER_BYTES_MAX - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if read.len() == CARRIER_ANSWER_BYTES_MAX {
            break;
        }
    }
    Reply { status: head.status, headers: head.headers, body: read.into(), is_whole }
}

/// The connection says that it was not processed: it was never written, or the server refused the stream, or it
/// closes and the stream is behind the last one that it looks at (RFC 9113, sections 6.8 and 8.7).
fn was_refused(error: &hyper_util::client::legacy::Error, version: Version) -> bool {
    causes(error).any(|cause| {
        // A stream that waited for its turn when the connection left has no other sign than that its task is gone.
        let unsent = cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_canceled() || (version == Version::Http2 && error.is_user()));
        let refused = cause.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        });
        unsent || refused
    })
}

/// The innermost cause: the others only say that there is one.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A connector that ends: the time-out of hyper's own covers TCP alone, and a server may hang in the handshake of TLS.
#[derive(Clone, Debug)]
pub struct Within<C>(C);

impl<C> Service<Uri> for Within<C>
where
    C: Service<Uri, Error = Boxed>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Boxed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let connected = tokio::time::timeout(2 * CARRIER_CONNECT_WITHIN, connecting).await;
            connected.map_err(|_| Boxed::from("no connection in time"))?
        })
    }
}

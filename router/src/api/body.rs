//! A request's body, whole, within a bound of bytes and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::{Kind, Problem};
use crate::limits::{BODY_WITHIN, REQUEST_BYTES_MAX};

pub async fn whole(body: Body, bytes_max: usize, within: Duration) -> Result<Bytes, Problem> {
    let too_slow = || Problem::new(Kind::TooSlow, format!("a body has {} s to arrive", within.as_secs()));
    timeout(within, collect(body, bytes_max)).await.map_err(|_| too_slow())?
}

/// A small JSON body with no field but those of `T`.
pub async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = whole(body, REQUEST_BYTES_MAX, BODY_WITHIN).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::new(Kind::Malformed, error.to_string()))
}

async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::TooLarge, format!("a body has at most {bytes_max} bytes"));
    let mut chunks = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Kind::Malformed, "the body broke off"))?;
        if first.len() + all.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        // Most bodies are one chunk, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

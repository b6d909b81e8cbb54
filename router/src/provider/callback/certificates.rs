//! SNS's certificates, fetched once each from SNS itself, and its subscriptions, confirmed there.
//!
//! Reaches only addresses that `sns` has pinned to SNS's own host. Called by the API's callbacks.

use std::collections::BTreeMap;
use std::sync::Arc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;
use url::Url;

use super::sns::{Believed, Disbelief, Message};
use crate::limits::{CARRIER_PATIENCE, SNS_CERTIFICATES_MAX};
use crate::provider::http::{Http, Reply, Version};
use wire::time::Wall;

/// The topics that are believed, and what proves their messages.
#[derive(Debug)]
pub struct Sns {
    http: Http,
    topics: Vec<String>,
    /// By address. Held while one is fetched, so that each is fetched once.
    known: Mutex<BTreeMap<String, Arc<CertificateDer<'static>>>>,
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    Disbelieved(#[from] Disbelief),
    /// SNS tells it again later.
    #[error("SNS cannot be reached: {0}")]
    Unreachable(String),
}

impl Sns {
    /// `topics`: names whose region is known to be one.
    pub fn new(topics: Vec<String>) -> Sns {
        Sns { http: Http::new(Version::Http1, CARRIER_PATIENCE), topics, known: Mutex::default() }
    }

    /// What a message says. A subscription is confirmed on the way.
    pub async fn read(&self, body: &[u8], now: Wall) -> Result<Believed, NotTaken> {
        let message = Message::parse(body)?;
        let url = message.certificate_url(&self.topics)?;
        let certificate = self.certificate(&url).await?;
        let believed = message.read(&certificate, now)?;
        if let Believed::Confirm(url) = &believed {
            self.get(url).await?;
        }
        Ok(believed)
    }

    async fn certificate(&self, url: &Url) -> Result<Arc<CertificateDer<'static>>, NotTaken> {
        let mut known = self.known.lock().await;
        if let Some(certificate) = known.get(url.as_str()) {
            return Ok(Arc::clone(certificate));
        }
        let answer = self.get(url).await?;
        let certificate = CertificateDer::from_pem_slice(&answer.body).map_err(|_| Disbelief::Forged)?;
        if known.len() >= SNS_CERTIFICATES_MAX {
            known.clear();
        }
        let certificate = Arc::new(certificate);
        known.insert(url.to_string(), Arc::clone(&certificate));
        Ok(certificate)
    }

    async fn get(&self, url: &Url) -> Result<Reply, NotTaken> {
        let request = Request::get(url.as_str()).body(Full::new(Bytes::new()));
        let request = request.map_err(|_| Disbelief::Address)?;
        let unreachable = |why: String| NotTaken::Unreachable(why);
        let answer = self.http.send(request).await.map_err(|lost| unreachable(format!("{lost:?}")))?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(unreachable(format!("HTTP {}", answer.status.as_u16())))
        }
    }
}

//! SNS's certificates, fetched once each from SNS itself, and its subscriptions, confirmed there.
//!
//! Reaches only addresses that `sns` has pinned to SNS's own host. Called by the API's callbacks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use ops::clock::Clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;
use wire::time::{Mono, Wall};

use super::sns::{Believed, Disbelief, Message, Source};
use crate::limits::{CARRIER_PATIENCE, SNS_AGAIN_AFTER, SNS_CERTIFICATES_MAX};
use crate::provider::http::{Http, Reply, Version};
use crate::provider::trust::Trust;

/// The topics that are believed, and what proves their messages.
#[derive(Debug)]
pub struct Sns {
    http: Http,
    from: Source,
    known: Mutex<Known>,
    /// Held by the one who fetches. The others are told to come again: whoever makes names up cannot hold them up.
    gate: tokio::sync::Mutex<()>,
    clock: Clock,
}

/// By address.
#[derive(Debug, Default)]
struct Known {
    certificates: BTreeMap<String, Arc<CertificateDer<'static>>>,
    /// What could not be had, and when.
    failed: BTreeMap<String, Mono>,
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
    /// `trust`: whom the certificate of SNS's own host may be signed by.
    pub fn new(from: Source, trust: &Trust, clock: Clock) -> Sns {
        let http = Http::new(Version::Http1, CARRIER_PATIENCE, trust);
        Sns { http, from, known: Mutex::default(), gate: tokio::sync::Mutex::default(), clock }
    }

    /// What a message says. A subscription is confirmed on the way.
    pub async fn read(&self, body: &[u8], now: Wall) -> Result<Believed, NotTaken> {
        let message = Message::parse(body)?;
        let url = message.certificate_url(&self.from)?;
        let certificate = self.certificate(&url).await?;
        let believed = message.read(&certificate, &self.from, now)?;
        if let Believed::Confirm(url) = &believed {
            self.get(url).await?;
        }
        Ok(believed)
    }

    async fn certificate(&self, url: &Url) -> Result<Arc<CertificateDer<'static>>, NotTaken> {
        let now = self.clock.mono();
        {
            let known = self.known();
            if let Some(certificate) = known.certificates.get(url.as_str()) {
                return Ok(Arc::clone(certificate));
            }
            if known.failed.get(url.as_str()).is_some_and(|at| now.since(*at) < SNS_AGAIN_AFTER) {
                return Err(NotTaken::Unreachable("the certificate could not be had just now".to_owned()));
            }
        }
        let Ok(_gate) = self.gate.try_lock() else {
            return Err(NotTaken::Unreachable("another certificate is being fetched".to_owned()));
        };
        let fetched = self.fetch(url).await;
        let mut known = self.known();
        if known.certificates.len() >= SNS_CERTIFICATES_MAX {
            known.certificates.clear();
        }
        known.failed.retain(|_, at| now.since(*at) < SNS_AGAIN_AFTER);
        match &fetched {
            Ok(certificate) => {
                known.certificates.insert(url.to_string(), Arc::clone(certificate));
            }
            Err(_) if known.failed.len() < SNS_CERTIFICATES_MAX => {
                known.failed.insert(url.to_string(), now);
            }
            Err(_) => {}
        }
        fetched
    }

    async fn fetch(&self, url: &Url) -> Result<Arc<CertificateDer<'static>>, NotTaken> {
        let answer = self.get(url).await?;
        if !answer.is_whole {
            return Err(NotTaken::Unreachable("half a certificate".to_owned()));
        }
        let certificate = CertificateDer::from_pem_slice(&answer.body).map_err(|_| Disbelief::Forged)?;
        Ok(Arc::new(certificate))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, url: &Url) -> Result<Reply, NotTaken> {
        let request = Request::get(url.as_str()).body(Full::new(Bytes::new()));
        let request = request.map_err(|_| Disbelief::Address)?;
        let unreachable = |why: String| NotTaken::Unreachable(why);
        let answer = self.http.send(request).await.map_err(|lost| unreachable(lost.to_string()))?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(unreachable(format!("HTTP {}", answer.status.as_u16())))
        }
    }
}

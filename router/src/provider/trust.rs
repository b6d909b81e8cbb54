//! Whom a provider's certificate has to be signed by: Mozilla's roots, or those of an operator's file (`ca`) and nobody else.
//!
//! One for HTTP and for mail, so that both believe the same. Never lets a certificate pass unlooked at: there is no setting for that.
//! Made by the settings, used by the carriers.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Certificates of one file.
const ROOTS_MAX: usize = 1_000;

/// `None`: Mozilla's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trust(Option<Arc<[CertificateDer<'static>]>>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("Mozilla's roots"),
            Some(roots) => write!(f, "{} roots of a file", roots.len()),
        }
    }
}

impl Trust {
    /// Those of a file in PEM, one or more.
    pub fn from_pem(pem: &[u8]) -> Result<Trust, &'static str> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(ROOTS_MAX + 1).collect();
        let roots = read.map_err(|_| "it is not PEM")?;
        if roots.is_empty() {
            return Err("there is no certificate in it");
        }
        if roots.len() > ROOTS_MAX {
            return Err("there are more than 1000 certificates in it");
        }
        store(&roots).ok_or("a certificate in it cannot be read")?;
        Ok(Trust(Some(roots.into())))
    }

    /// For HTTP.
    pub fn tls(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        match &self.0 {
            None => builder.with_webpki_roots().with_no_client_auth(),
            Some(roots) => {
                builder.with_root_certificates(store(roots).expect("they were tried")).with_no_client_auth()
            }
        }
    }

    /// For a mail server of this name.
    pub fn mail(&self, host: &str) -> TlsParameters {
        let mut builder = TlsParameters::builder(host.to_owned());
        if let Some(roots) = &self.0 {
            builder = builder.certificate_store(CertificateStore::None);
            for root in roots.iter() {
                let root = Certificate::from_der(root.to_vec()).expect("they were tried");
                builder = builder.add_root_certificate(root);
            }
        }
        builder.build_rustls().expect("roots that were tried, or Mozilla's")
    }
}

fn store(roots: &[CertificateDer<'static>]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    roots.iter().try_for_each(|root| store.add(root.clone())).ok()?;
    Some(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_good_certificate_is_none() {
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, why) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
            (nonsense, "cannot be read"),
        ] {
            assert!(Trust::from_pem(pem.as_bytes()).unwrap_err().contains(why), "{pem}");
        }
    }
}

//! A certificate chain and its key: read from PEM, held against each other, and how long they are good for.
//!
//! Each refusal is a line for a person. Never opens a file (`io::certificates` does). Called by that and by tests.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use wire::time::Wall;

use super::provider;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    #[error("a certificate in it cannot be read: {0}")]
    BadCertificate(String),
    #[error("there is no PEM private key in it")]
    NoKey,
    #[error(
        "the key is encrypted: give it decrypted (openssl pkey -in FILE -out FILE), readable by the gateway alone"
    )]
    EncryptedKey,
    #[error("the key cannot be used: {0}")]
    BadKey(String),
    #[error("the key does not belong to the certificate in {certificate}")]
    Mismatch { certificate: String },
}

/// How long a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Option<Wall>,
    pub not_after: Option<Wall>,
}

/// What a node proves itself with.
#[derive(Debug, Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

/// The certificates of a PEM file, the node's own first.
pub fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = read.map_err(|why| IdentityError::BadCertificate(why.to_string()))?;
    for certificate in &chain {
        ParsedCertificate::try_from(certificate).map_err(|why| match why {
            Error::InvalidCertificate(why) => IdentityError::BadCertificate(why.to_string()),
            other => IdentityError::BadCertificate(other.to_string()),
        })?;
    }
    if chain.is_empty() { Err(IdentityError::NoCertificate) } else { Ok(chain) }
}

/// The first private key of a PEM file: PKCS #8, PKCS #1 or SEC 1.
pub fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    // PKCS #8's own label, and the header that older tools put under the plain one.
    let says = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    if says(b"ENCRYPTED PRIVATE KEY-----") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(IdentityError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|why| match why {
        pem::Error::NoItemsFound => IdentityError::NoKey,
        other => IdentityError::BadKey(other.to_string()),
    })
}

impl Identity {
    /// `certificate` names the chain's file, for the one who reads that they do not match.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate: &str,
    ) -> Result<Identity, IdentityError> {
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(certified) => Ok(Identity { certified: Arc::new(certified) }),
            Err(Error::InconsistentKeys(_)) => {
                Err(IdentityError::Mismatch { certificate: certificate.to_owned() })
            }
            Err(Error::General(why)) => Err(IdentityError::BadKey(why)),
            Err(why) => Err(IdentityError::BadKey(why.to_string())),
        }
    }

    pub(super) fn certified(&self) -> CertifiedKey {
        CertifiedKey::clone(&self.certified)
    }

    /// Asks the verifier about a time before and one behind every certificate's: its answers name the bounds.
    pub fn validity(&self) -> Validity {
        const FAR_FUTURE: u64 = 1 << 40;
        let verdict = |at_s: u64| {
            let certificate = ParsedCertificate::try_from(&self.certified.cert[0]).ok()?;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at_s));
            let algorithms = provider().signature_verification_algorithms.all;
            let (nobody, none) = (RootCertStore::empty(), []);
            verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &none, at, algorithms).err()
        };
        let not_before = match verdict(0) {
            Some(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                Some(wall(not_before))
            }
            _ => None,
        };
        let not_after = match verdict(FAR_FUTURE) {
            Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(wall(not_after))
            }
            _ => None,
        };
        Validity { not_before, not_after }
    }
}

fn wall(at: UnixTime) -> Wall {
    Wall(0) + Duration::from_secs(at.as_secs())
}

//! Why a provider could not be reached, for the operator: a code that says where to look, and words.
//!
//! Owns the difference between a name that nobody knows, a port where nobody is, and a certificate that is not to be believed. Pure.
//! Called by all who connect, before anything was sent.

use std::error::Error;
use std::io;

use rustls::CertificateError::{
    Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
    UnknownIssuer,
};
use rustls::pki_types::UnixTime;
use wire::time::Wall;

/// Nobody there: refused, no route, no answer.
pub const CONNECT: &str = "connect";
/// The name cannot be resolved.
pub const DNS: &str = "dns";
/// Somebody is there, and it is no TLS, or none that we can speak.
pub const TLS: &str = "tls";
pub const UNTRUSTED: &str = "certificate_untrusted";
/// Also one that is not valid yet.
pub const EXPIRED: &str = "certificate_expired";
pub const OTHER_NAME: &str = "certificate_name";
/// Anything else that is wrong with it.
pub const CERTIFICATE: &str = "certificate";

/// How the standard library begins what the resolver says.
const LOOKUP: &str = "failed to lookup address information";
/// Causes of one error that are looked at.
const CAUSES_MAX: usize = 16;

/// Certainly nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct Unreached {
    pub code: &'static str,
    pub why: String,
}

impl Unreached {
    /// Nobody there, in these words.
    pub fn connect(why: impl Into<String>) -> Unreached {
        Unreached { code: CONNECT, why: why.into() }
    }

    /// What an error means that a connector gave back.
    pub fn of(error: &(dyn Error + 'static)) -> Unreached {
        let mut innermost = error.to_string();
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return of_tls(tls);
            }
            innermost = cause.to_string();
            if innermost.starts_with(LOOKUP) {
                let why = innermost.trim_start_matches(LOOKUP).trim_start_matches([':', ' ']);
                return Unreached { code: DNS, why: format!("its name cannot be resolved: {why}") };
            }
            if innermost.ends_with("handshake eof") {
                return Unreached { code: TLS, why: "it hangs up in the handshake of TLS".to_owned() };
            }
        }
        Unreached::connect(innermost)
    }
}

/// From the outermost on. What an I/O error carries is not among its sources.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(CAUSES_MAX)
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

fn of_tls(error: &rustls::Error) -> Unreached {
    let tls = |why: String| Unreached { code: TLS, why };
    match error {
        rustls::Error::InvalidCertificate(why) => of_certificate(why),
        rustls::Error::InvalidMessage(_) => tls("what it speaks at this port is not TLS".to_owned()),
        rustls::Error::AlertReceived(alert) => tls(format!("it ends the handshake of TLS: {alert:?}")),
        rustls::Error::PeerIncompatible(_) => tls("it speaks no TLS that we speak".to_owned()),
        other => tls(format!("the handshake of TLS fails: {other}")),
    }
}

fn of_certificate(error: &rustls::CertificateError) -> Unreached {
    let (code, why) = match error {
        UnknownIssuer => (UNTRUSTED, "its certificate is signed by nobody who is trusted".to_owned()),
        ExpiredContext { not_after, .. } => {
            (EXPIRED, format!("its certificate ended at {}, by our clock", date(*not_after)))
        }
        Expired => (EXPIRED, "its certificate has ended, by our clock".to_owned()),
        NotValidYetContext { not_before, .. } => {
            (EXPIRED, format!("its certificate begins at {}, by our clock", date(*not_before)))
        }
        NotValidYet => (EXPIRED, "its certificate has not begun, by our clock".to_owned()),
        NotValidForNameContext { expected, .. } => {
            (OTHER_NAME, format!("its certificate is not for {}", expected.to_str()))
        }
        NotValidForName => (OTHER_NAME, "its certificate is for another name".to_owned()),
        other => (CERTIFICATE, format!("its certificate is not believed: {other}")),
    };
    Unreached { code, why }
}

fn date(at: UnixTime) -> Wall {
    Wall(i64::try_from(at.as_secs().saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError as Certificate;
    use rustls::pki_types::ServerName;

    /// As rustls's callers hand it on.
    fn wrapped(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn of(error: rustls::Error) -> (&'static str, String) {
        let Unreached { code, why } = Unreached::of(&wrapped(error));
        (code, why)
    }

    #[test]
    fn each_certificate_says_what_is_wrong_with_it() {
        let wrong = |error: Certificate| of(rustls::Error::InvalidCertificate(error));
        let at = |secs| UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
        let expired = Certificate::ExpiredContext { time: at(1_800_000_000), not_after: at(1_609_459_200) };
        let (code, why) = wrong(expired);
        assert!(code == EXPIRED && why.contains("ended at 2021-01-01T00:00:00"), "{why}");
        let name = ServerName::try_from("mail.example").unwrap();
        let other = Certificate::NotValidForNameContext { expected: name, presented: vec!["a".to_owned()] };
        assert_eq!(wrong(other), (OTHER_NAME, "its certificate is not for mail.example".to_owned()));
        assert_eq!(wrong(Certificate::UnknownIssuer).0, UNTRUSTED);
        assert_eq!(wrong(Certificate::NotValidYet).0, EXPIRED);
        assert_eq!(wrong(Certificate::BadSignature).0, CERTIFICATE);
    }

    #[test]
    fn what_is_no_tls_is_told_from_a_port_where_nobody_is() {
        let no_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of(no_tls).0, TLS);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert!(of(alert).1.contains("HandshakeFailure"));
        let hung_up = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(Unreached::of(&hung_up).code, TLS);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(Unreached::of(&refused), Unreached::connect("connection refused"));
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_the_resolver_s_reason() {
        let words = "failed to lookup address information: Name or service not known";
        let unreached = Unreached::of(&io::Error::other(words));
        assert_eq!(unreached.code, DNS);
        assert_eq!(unreached.why, "its name cannot be resolved: Name or service not known");
    }
}

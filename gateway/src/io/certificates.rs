//! Reads the TLS certificate and key from their files, says what is wrong in one line, and warns about what soon will be.
//! Called by `node` at start and at every reload.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wire::time::Wall;

use crate::config::Tls;
use crate::limits::{TLS_EXPIRY_WARNING, TLS_FILE_BYTES_MAX};
use crate::tls::identity::{Identity, IdentityError, Validity, read_chain, read_key};

/// Why there is no TLS. One line for a person that names the file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{}: {why}", file.display())]
    File { file: PathBuf, why: io::Error },
    #[error("{}: {why}", file.display())]
    Content { file: PathBuf, why: IdentityError },
}

/// Reads both files and holds them against each other.
pub fn read(tls: &Tls, now: Wall) -> Result<Identity, CertificateError> {
    let in_file = |file: &Path| {
        let file = file.to_owned();
        move |why| CertificateError::Content { file, why }
    };
    let chain = read_chain(&read_file(&tls.cert)?).map_err(in_file(&tls.cert))?;
    let key = read_key(&read_file(&tls.key)?).map_err(in_file(&tls.key))?;
    let certificate = tls.cert.display().to_string();
    let identity = Identity::new(chain, key, &certificate).map_err(in_file(&tls.key))?;
    warn(&certificate, identity.validity(), now);
    Ok(identity)
}

/// An expired certificate is used all the same: to refuse everybody is not better than what clients make of it.
fn warn(certificate: &str, validity: Validity, now: Wall) {
    let Validity { not_before, not_after } = validity;
    if let Some(not_before) = not_before.filter(|not_before| *not_before > now) {
        tracing::warn!(certificate, %not_before, "the TLS certificate is not valid yet: clients will refuse it");
    }
    let Some(not_after) = not_after else { return };
    if not_after < now {
        tracing::warn!(certificate, %not_after, "the TLS certificate has expired: clients will refuse it");
    } else if not_after < now + TLS_EXPIRY_WARNING {
        tracing::warn!(certificate, %not_after, "the TLS certificate expires soon");
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let fault = |why| CertificateError::File { file: file.to_owned(), why };
    let mut content = Vec::new();
    let opened = std::fs::File::open(file).map_err(fault)?;
    let read = opened.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(fault)?;
    if read as u64 > TLS_FILE_BYTES_MAX {
        return Err(fault(io::Error::other(format!("longer than {TLS_FILE_BYTES_MAX} bytes"))));
    }
    Ok(content)
}

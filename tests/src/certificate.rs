//! Certificates minted by openssl, as an operator would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::run;

const MINT: Duration = Duration::from_secs(30);

/// A certificate and its key, each in a file.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Runs openssl to its end.
///
/// # Panics
/// When it fails: `tests/run prepare` installs it.
pub fn openssl(folder: &Path, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    let (good, text) = run(command.current_dir(folder).args(arguments.split_whitespace()), MINT);
    assert!(good, "openssl {arguments}: {text}");
    text
}

impl Certificate {
    /// Self-signed by P-256 for localhost and 127.0.0.1, as `NAME.pem` and `NAME.key`.
    pub fn mint(folder: &Path, name: &str) -> Certificate {
        Certificate::mint_by(folder, name, "ec -pkeyopt ec_paramgen_curve:P-256")
    }

    /// The same with another kind of key, as `openssl req -newkey` names it.
    pub fn mint_by(folder: &Path, name: &str, newkey: &str) -> Certificate {
        Certificate::mint_with(folder, name, newkey, "DNS:localhost,IP:127.0.0.1")
    }

    /// The same for another host.
    pub fn mint_for(folder: &Path, name: &str, host: &str) -> Certificate {
        Certificate::mint_with(folder, name, "ec -pkeyopt ec_paramgen_curve:P-256", &format!("DNS:{host}"))
    }

    fn mint_with(folder: &Path, name: &str, newkey: &str, names: &str) -> Certificate {
        openssl(
            folder,
            &format!(
                "req -x509 -nodes -days 30 -subj /CN={name} -newkey {newkey} \
                 -addext subjectAltName={names} -addext basicConstraints=critical,CA:FALSE \
                 -keyout {name}.key -out {name}.pem"
            ),
        );
        Certificate { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    /// One that ended long ago.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn mint_expired(folder: &Path, name: &str) -> Certificate {
        let ca = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n\
                  default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n\
                  [e]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost\n";
        for (file, text) in [("ca.conf", ca), ("index.txt", ""), ("serial", "01\n")] {
            std::fs::write(folder.join(file), text).expect("the folder can be written");
        }
        openssl(
            folder,
            &format!(
                "req -new -nodes -subj /CN=localhost -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
                 -keyout {name}.key -out {name}.csr"
            ),
        );
        openssl(
            folder,
            &format!(
                "ca -config ca.conf -batch -notext -selfsign -keyfile {name}.key -in {name}.csr -out {name}.pem \
                 -startdate 20200101000000Z -enddate 20210101000000Z"
            ),
        );
        Certificate { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    /// Puts another certificate and key where this one is, as a renewal does.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn replace(&self, by: &Certificate) {
        for (from, to) in [(&by.cert, &self.cert), (&by.key, &self.key)] {
            std::fs::copy(from, to).expect("the folder can be written");
        }
    }

    /// What `openssl s_client` calls it.
    pub fn fingerprint(&self) -> String {
        let folder = self.cert.parent().expect("it lies in a folder");
        openssl(folder, &format!("x509 -in {} -noout -fingerprint -sha256", self.cert.display()))
    }
}

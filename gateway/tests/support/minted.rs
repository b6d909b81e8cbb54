//! Certificates for tests, minted by openssl: self-signed, for localhost and 127.0.0.1.

use std::process::Command;

/// A certificate and its key in one PEM text. `newkey` is `openssl req`'s: `ec -pkeyopt …`, `rsa:2048`.
pub fn mint(newkey: &str) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-newkey"]);
    command.args(newkey.split(' '));
    command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.args(["-keyout", "/dev/stdout", "-out", "/dev/stdout"]);
    let minted = command.output().expect("openssl is installed (tests/run prepare)");
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    minted.stdout
}

pub fn mint_p256() -> Vec<u8> {
    mint("ec -pkeyopt ec_paramgen_curve:P-256")
}

//! A certificate or key that cannot be used ends the start with one line that names the file and what is wrong with it.

use std::time::Duration;

use tests::certificate::{Certificate, openssl};
use tests::{Setup, Tocsin};

use crate::tls::Tls;

const REFUSAL: Duration = Duration::from_secs(20);

/// Starts over these files, which must fail with one line that says all of `says`.
#[track_caller]
fn refused(spoil: impl FnOnce(&Tocsin, &Certificate), says: &[&str]) {
    let mut tocsin = Tls::setup(Setup::standalone()).prepare();
    let certificate = Certificate::mint(tocsin.folder(), "node");
    spoil(&tocsin, &certificate);
    let ending = tocsin.launch_gateway().ending(REFUSAL);
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    let said: Vec<&str> =
        ending.log.lines().filter(|line| says.iter().all(|word| line.contains(word))).collect();
    assert_eq!(said.len(), 1, "one line with {says:?}: {}", ending.log);
    assert!(!ending.log.contains("panicked") && !ending.log.contains("PRIVATE KEY"), "{}", ending.log);
    tocsin.kill_9();
}

#[test]
fn files_that_are_not_there_are_named() {
    refused(|_, node| std::fs::remove_file(&node.cert).expect("it is there"), &["node.pem", "No such file"]);
    refused(|_, node| std::fs::remove_file(&node.key).expect("it is there"), &["node.key", "No such file"]);
}

#[test]
fn files_of_the_wrong_kind_are_named() {
    refused(
        |_, node| std::fs::write(&node.cert, "hello").expect("it can be written"),
        &["node.pem", "no PEM certificate"],
    );
    refused(
        |_, node| std::fs::write(&node.key, "hello").expect("it can be written"),
        &["node.key", "no PEM private key"],
    );
    let cut = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).expect("it is there");
        let middle = text.len() / 2;
        let broken = format!("{}{}", &text[..middle - 20], &text[middle + 20..]);
        std::fs::write(file, broken).expect("it can be written");
    };
    refused(|_, node| cut(&node.cert), &["node.pem", "cannot be read"]);
    refused(|_, node| cut(&node.key), &["node.key", "cannot be used"]);
}

#[test]
fn a_key_of_another_certificate_is_named() {
    refused(
        |tocsin, node| {
            let other = Certificate::mint(tocsin.folder(), "other");
            std::fs::copy(other.key, &node.key).expect("it can be written");
        },
        &["node.key", "does not belong", "node.pem"],
    );
}

#[test]
fn an_encrypted_key_is_named() {
    for kind in ["pkey -aes256 -passout pass:secret", "ec -aes256 -passout pass:secret"] {
        refused(
            |tocsin, node| {
                let from = node.key.with_extension("plain");
                std::fs::rename(&node.key, &from).expect("it is there");
                let words = format!("{kind} -in {} -out {}", from.display(), node.key.display());
                openssl(tocsin.folder(), &words);
            },
            &["node.key", "is encrypted"],
        );
    }
}

#[test]
fn an_expired_certificate_is_warned_about_and_served() {
    let mut tocsin = Tls::setup(Setup::standalone()).prepare();
    Certificate::mint_expired(tocsin.folder(), "node");
    tocsin.start_gateway();
    let log = tocsin.gateway().log();
    let line = log.lines().find(|line| line.contains("has expired")).unwrap_or_default();
    assert!(line.contains("WARN") && line.contains("node.pem") && line.contains("2021-01-01"), "{log}");
}

#[test]
fn rsa_keys_serve_as_well() {
    let mut tocsin = Tls::setup(Setup::standalone()).prepare();
    Certificate::mint_by(tocsin.folder(), "node", "rsa:2048");
    tocsin.start_gateway();
    let words = format!("s_client -connect {} -CAfile node.pem -verify_return_error -brief", tocsin.tls());
    let said = openssl(tocsin.folder(), &words);
    assert!(said.contains("Verification: OK") && said.contains("RSA-PSS"), "{said}");
}

#[test]
fn it_prints_where_tls_listens() {
    let mut tls = Tls::start(Setup::standalone());
    let wanted = format!("wss://{}/v1/connect", tls.tocsin.tls());
    let log = tls.tocsin.gateway().log();
    assert!(log.contains(&wanted), "{log}");
}

//! The carriers against implementations of others: nghttp2 as APNs, OpenSSL as a browser, aiosmtpd as a mail server, moto as SES. What
//! our own simulators and carriers agree on could be wrong on both sides.

use router::provider::letter::{Address, Class};
use router::record::Channel;
use serde_json::Value;
use tests::process::{Plan, Process};
use tests::{Api, Simulators, paths, ports, until};

use crate::support::{carriers, letter, refused, send, taken};
use crate::{apns, ses, smtp};

/// A program that prints lines of JSON.
struct Foreign {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Foreign {
    fn start(program: &str, arguments: &[&str]) -> Foreign {
        let folder = paths::scratch("foreign-");
        let plan = Plan {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: paths::root().join("tests/providers"),
            log: folder.path().join("foreign.log"),
        };
        Foreign { process: Process::start("foreign", &plan), _folder: folder }
    }

    fn lines(&mut self) -> Vec<Value> {
        assert!(self.process.ended().is_none(), "it ended: {}", self.process.log());
        self.process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn first(&mut self) -> Value {
        until("it listens", || self.lines().first().cloned())
    }
}

#[test]
fn nghttp2_as_apns_takes_what_it_sent_away() {
    let simulators = Simulators::start();
    let mut node = Foreign::start("node", &["apns.mjs"]);
    let port = node.first()["port"].clone();
    let carrier = apns::carrier(&simulators, &format!("http://127.0.0.1:{port}"), &apns::key().0);
    for _ in 0..3 {
        assert!(taken(send(&*carrier, &apns::push())).is_some());
    }
    let lines = until("all of it", || Some(node.lines()).filter(|lines| lines.len() >= 5));
    assert!(lines.iter().any(|line| line["refused"].is_u64()), "{lines:?}");
    let sessions: Vec<_> = lines.iter().filter_map(|line| line["session"].as_u64()).collect();
    assert_eq!(
        sessions,
        [1, 2, 2],
        "one by the first connection, what was sent away by the second: {lines:?}"
    );
    assert!(lines.last().expect("lines")["body"].to_string().contains("Disk almost full"));
}

#[test]
fn openssl_as_a_browser_reads_a_push() {
    let simulators = Simulators::start();
    let mut node = Foreign::start("node", &["webpush.mjs"]);
    let browser = node.first();
    let text = |key: &str| browser[key].as_str().expect("a text").to_owned();
    let endpoint = format!("http://127.0.0.1:{}/push/1", browser["port"]);
    let key = simulators.file("vapid.pem", &apns::key().0);
    let settings =
        format!("[webpush]\nkey = \"{key}\"\nsubject = \"mailto:a@b.example\"\nprivate_endpoints = true\n");
    let carrier = carriers(&settings).webpush.expect("Web Push");
    let to = Address::WebPush { endpoint, p256dh: text("p256dh"), auth: text("auth") };
    taken(send(&*carrier, &letter(Channel::Push, to)));
    let line = until("a push", || node.lines().get(1).cloned());
    assert_eq!(line["vouched"], true, "{line}");
    let shown: Value = serde_json::from_str(line["plaintext"].as_str().expect("a text")).expect("JSON");
    assert_eq!(shown["title"], "Disk almost full");
}

#[test]
fn aiosmtpd_takes_a_mail() {
    let python = paths::prepared("venv/bin/python");
    let address = ports::free();
    let listen = address.to_string();
    let arguments =
        ["-u", "-m", "aiosmtpd", "-n", "-l", &listen, "-c", "aiosmtpd.handlers.Debugging", "stdout"];
    let mut server = Foreign::start(python.to_str().expect("UTF-8"), &arguments);
    until("it listens", || {
        assert!(server.process.ended().is_none(), "it ended: {}", server.process.log());
        std::net::TcpStream::connect(address).ok()
    });
    let carrier = smtp::carrier(&format!("smtp://{listen}"));
    let mut mail = smtp::mail();
    mail.title = Some("Grüße, Ada".to_owned());
    mail.body = Some("ein\n.\nzwei".to_owned());
    for _ in 0..2 {
        taken(send(&*carrier, &mail));
    }
    let log =
        until("both", || Some(server.process.log()).filter(|log| log.matches("END MESSAGE").count() == 2));
    assert!(log.contains("To: ada@x.example") && log.contains("Subject: =?utf-8?"), "{log}");
}

/// moto is 320 MB with what it brings, so it is not installed for this: `python3 -m venv target/moto && target/moto/bin/pip install
/// 'moto[server]'` has this test run.
#[test]
fn moto_as_ses_takes_a_mail_of_a_verified_sender() {
    let server = paths::target().join("moto/bin/moto_server");
    if !server.is_file() {
        println!("SKIPPED: providers: moto is not in target/moto");
        return;
    }
    let simulators = Simulators::start();
    let address = ports::free();
    let port = address.port().to_string();
    let mut moto = Foreign::start(server.to_str().expect("UTF-8"), &["-H", "127.0.0.1", "-p", &port]);
    until("it listens", || {
        assert!(moto.process.ended().is_none(), "it ended: {}", moto.process.log());
        std::net::TcpStream::connect(address).ok()
    });
    let carrier = ses::carrier(&simulators, &format!("http://{address}"), None);
    let answer = send(&*carrier, &ses::mail());
    refused(answer, Class::Auth, "NotVerified");
    let api = Api::new(&format!("http://{address}"), "");
    let scope =
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/ses/aws4_request, SignedHeaders=host, Signature=0";
    let headers = [("content-type", "application/json"), ("authorization", scope)];
    let sender = br#"{"EmailIdentity":"alerts@shop.example"}"#;
    let made = api.request("POST", "/v2/email/identities", &headers, Some(sender)).expect("an answer");
    made.expect(200);
    assert!(taken(send(&*carrier, &ses::mail())).is_some());
}

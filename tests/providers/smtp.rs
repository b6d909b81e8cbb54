//! SMTP: until the text of a mail is on its way nothing was sent, and after that only a reply tells.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use ops::clock::Clock;
use router::config::SmtpSecurity;
use router::provider::carriers::Carriers;
use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tests::Simulators;

use crate::support::{carriers, config, letter, refused, send, taken, unknown, wait};

fn start() -> (Simulators, Arc<dyn Carrier>) {
    let simulators = Simulators::start();
    let email = carrier(&simulators.of("smtp", "url"));
    (simulators, email)
}

pub(crate) fn carrier(url: &str) -> Arc<dyn Carrier> {
    let text = format!("[smtp]\nurl = \"{url}\"\nfrom = \"The Shop <alerts@shop.example>\"\n");
    carriers(&text).email.expect("e-mail")
}

pub(crate) fn mail() -> Letter {
    letter(Channel::Email, Address::Email("ada@x.example".to_owned()))
}

/// A mail server that says these lines, one now and one for each that it hears, and where it is. Any number of connections, one by one.
fn scripted(lines: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut heard = BufReader::new(stream.try_clone().expect("a socket"));
            for line in &lines {
                if stream.write_all(format!("{line}\r\n").as_bytes()).is_err() {
                    break;
                }
                let _end = heard.read_line(&mut String::new());
            }
        }
    });
    format!("smtp://{at}")
}

#[test]
fn what_a_server_says_that_speaks_no_smtp_is_cut_and_on_one_line() {
    let babble = format!("ada@x.example\u{7} {}", "so on ".repeat(1_000));
    let smtp = carrier(&scripted(vec![babble]));
    let refusal = refused(send(&*smtp, &mail()), Class::Fault, "connect");
    let detail = &refusal.detail;
    assert!(detail.chars().count() <= 200 && !detail.contains(char::is_control), "{detail:?}");
    assert!(!detail.contains("ada@x.example"), "{detail}");
}

#[test]
fn a_server_that_offers_no_starttls_gets_nothing_and_is_told_as_tls() {
    let at = scripted(vec!["220 mail.example".to_owned(), "250 mail.example".to_owned()]);
    let mut config = config(&format!("[smtp]\nurl = \"{at}\"\nfrom = \"alerts@shop.example\"\n"));
    // As with a server elsewhere.
    config.smtp.as_mut().expect("SMTP").security = SmtpSecurity::StartTls;
    let smtp = wait(async { Carriers::new(&config, Clock::start()) }).email.expect("e-mail");
    let refusal = refused(send(&*smtp, &mail()), Class::Fault, "tls");
    assert!(refusal.detail.contains("no STARTTLS"), "{}", refusal.detail);
}

#[test]
fn a_mail_arrives_whole_and_says_no_more_than_it_should() {
    let (simulators, smtp) = start();
    let mut mail = mail();
    mail.title = Some("Hi\r\nBcc: eve@x.example".to_owned());
    mail.body = Some("one\n.\n..two\nRCPT TO:<eve@x.example>".to_owned());
    for _ in 0..3 {
        assert!(taken(send(&*smtp, &mail)).is_some());
    }
    let received = simulators.received("smtp");
    assert_eq!(received.len(), 3);
    let content = &received[0]["content"];
    let headers = content["headers"].as_str().expect("headers");
    assert!(headers.contains("\r\nAuto-Submitted: auto-generated"), "{headers}");
    assert!(!headers.to_ascii_lowercase().contains("\nbcc:"), "{headers}");
    assert_eq!(
        content["body"].as_str().expect("a body").trim_end(),
        "one\r\n.\r\n..two\r\nRCPT TO:<eve@x.example>"
    );
    let name = |at: usize| {
        let headers = received[at]["content"]["headers"].as_str().expect("headers");
        headers.lines().find(|line| line.starts_with("Message-ID")).map(str::to_owned)
    };
    assert!(name(0).is_some() && name(0) == name(2), "the same name at every try");
}

#[test]
fn a_refused_recipient_is_not_the_server_s_fault_and_the_connection_goes_on() {
    let (simulators, smtp) = start();
    simulators.faults(
        &json!({ "smtp": { "times": 1, "do": { "error": "550 5.1.1 <ada@x.example>: User unknown" } } }),
    );
    let refusal = refused(send(&*smtp, &mail()), Class::Gone, "550 5.1.1");
    assert!(!refusal.detail.contains("ada"), "{}", refusal.detail);
    taken(send(&*smtp, &mail()));
}

#[test]
fn a_throttle_after_the_text_is_a_no() {
    let (simulators, smtp) = start();
    simulators.faults(&json!({ "smtp": { "do": { "throttle": {} } } }));
    refused(send(&*smtp, &mail()), Class::Quota, "454");
    let full = json!({ "status": 454, "body": "Throttling failure: Daily message quota exceeded." });
    simulators.faults(&json!({ "smtp": { "do": { "status": full } } }));
    refused(send(&*smtp, &mail()), Class::Spent, "454");
}

#[test]
fn a_connection_that_breaks_after_the_text_leaves_it_unknown() {
    let (simulators, smtp) = start();
    simulators.faults(&json!({ "smtp": { "do": "reset" } }));
    unknown(&send(&*smtp, &mail()));
    assert_eq!(simulators.received("smtp")[0]["taken"], true);
}

#[test]
fn a_server_that_is_away_got_nothing_and_a_kept_connection_that_died_is_replaced() {
    let (simulators, smtp) = start();
    taken(send(&*smtp, &mail()));
    simulators.faults(&json!({ "smtp": { "do": "refuse" } }));
    tests::until("nobody listens", || {
        let at = simulators.of("smtp", "url");
        std::net::TcpStream::connect(at.trim_start_matches("smtp://")).is_err().then_some(())
    });
    refused(send(&*smtp, &mail()), Class::Fault, "connect");
    simulators.calm();
    tests::until("it is back", || {
        let at = simulators.of("smtp", "url");
        std::net::TcpStream::connect(at.trim_start_matches("smtp://")).ok()
    });
    taken(send(&*smtp, &mail()));
}

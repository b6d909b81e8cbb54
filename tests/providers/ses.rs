//! SES: signed as AWS wants it, each error whose fault it is, and what may have gone out never called failed.

use std::path::Path;
use std::sync::Arc;

use router::provider::delivery;
use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tests::certificate::Certificate;
use tests::{Simulators, paths};

use crate::support::{carriers, config, letter, refused, send, taken, unknown};

fn start(secret: Option<&str>) -> (Simulators, Arc<dyn Carrier>) {
    let simulators = Simulators::start();
    let email = carrier(&simulators, &simulators.of("ses", "url"), secret);
    (simulators, email)
}

pub(crate) fn carrier(simulators: &Simulators, endpoint: &str, secret: Option<&str>) -> Arc<dyn Carrier> {
    carriers(&settings(simulators, endpoint, secret)).email.expect("e-mail")
}

fn settings(simulators: &Simulators, endpoint: &str, secret: Option<&str>) -> String {
    let of = |key: &str| simulators.of("ses", key);
    let secret = secret.map_or_else(|| of("secret_key"), str::to_owned);
    let file =
        format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n", of("access_key"));
    let file = simulators.file("aws.credentials", &file);
    format!(
        "[ses]\nregion = \"{}\"\nfrom = \"The Shop <alerts@shop.example>\"\nconfiguration_set = \"events\"\n\
         access_key_file = \"{file}\"\nendpoint = \"{endpoint}\"\n",
        of("region"),
    )
}

pub(crate) fn mail() -> Letter {
    letter(Channel::Email, Address::Email("ada@x.example".to_owned()))
}

#[test]
fn other_roots_for_an_endpoint_of_sns_s_are_another_belief() {
    let simulators = Simulators::start();
    let folder = paths::scratch("roots-");
    let [one, other] = ["one", "other"].map(|name| Certificate::mint(folder.path(), name).cert);
    let settings = settings(&simulators, &simulators.of("ses", "url"), None);
    let topic = format!("topic_arns = [{:?}]\n", simulators.of("sns", "topic_arn"));
    let believes = |sns: &str, ca: &Path| config(&format!("{settings}{topic}{sns}ca = {ca:?}\n"));
    let at_ours = format!("sns_endpoint = {:?}\n", simulators.of("sns", "url"));
    assert!(believes(&at_ours, &one).believes_as(&believes(&at_ours, &one)));
    assert!(!believes(&at_ours, &one).believes_as(&believes(&at_ours, &other)));
    assert!(believes("", &one).believes_as(&believes("", &other)), "AWS's is believed as ever");
}

#[test]
fn a_mail_is_signed_and_names_its_delivery() {
    let (simulators, ses) = start(None);
    let mut mail = mail();
    mail.delivery.user = "ü".repeat(120);
    assert!(taken(send(&*ses, &mail)).is_some_and(|id| id.starts_with("0102")));
    let document = simulators.received("ses")[0]["content"].clone();
    assert_eq!(document["FromEmailAddress"], "The Shop <alerts@shop.example>");
    assert_eq!(document["Content"]["Simple"]["Subject"]["Data"], "Disk almost full");
    assert_eq!(document["ConfigurationSetName"], "events");
    let tags = document["EmailTags"].as_array().expect("tags");
    let name: String = tags.iter().map(|tag| tag["Value"].as_str().expect("a value")).collect();
    assert_eq!((tags.len(), delivery::read(&name)), (2, Some(mail.delivery)), "a long name takes two tags");
}

#[test]
fn a_mail_that_can_be_ended_has_the_headers_for_it() {
    let (simulators, ses) = start(None);
    let link = "https://shop.example/bye?t=AAAA";
    let leaving = Letter { unsubscribe: Some(link.to_owned()), ..mail() };
    for mail in [&leaving, &mail()] {
        taken(send(&*ses, mail));
    }
    let headers =
        |at: usize| simulators.received("ses")[at]["content"]["Content"]["Simple"]["Headers"].clone();
    let automatic = json!({ "Name": "Auto-Submitted", "Value": "auto-generated" });
    assert_eq!(
        headers(0),
        json!([automatic, { "Name": "List-Unsubscribe", "Value": format!("<{link}>") },
            { "Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click" }])
    );
    assert_eq!(headers(1), json!([automatic]));
}

#[test]
fn html_goes_beside_the_text() {
    let (simulators, ses) = start(None);
    let dressed = Letter { html: Some("<p>Disk</p>\u{0}".to_owned()), ..mail() };
    for mail in [&dressed, &mail()] {
        taken(send(&*ses, mail));
    }
    let body = |at: usize| simulators.received("ses")[at]["content"]["Content"]["Simple"]["Body"].clone();
    assert_eq!(body(0)["Html"], json!({ "Data": "<p>Disk</p>", "Charset": "UTF-8" }));
    assert_eq!(body(0)["Text"], body(1)["Text"]);
    assert_eq!(body(1)["Html"], json!(null));
}

#[test]
fn each_error_is_whose_fault_it_is() {
    let (simulators, ses) = start(None);
    for (code, told, class) in [
        ("TooManyRequestsException", "TooManyRequestsException", Class::Quota),
        ("DailyQuota", "DailyQuota", Class::Spent),
        ("AccountSuspendedException", "AccountSuspendedException", Class::Auth),
        ("SendingPausedException", "SendingPausedException", Class::Auth),
        ("MessageRejected", "MessageRejected", Class::Content),
        ("NotVerified", "NotVerified", Class::Auth),
        ("BadRequestException", "BadRequestException", Class::Content),
        ("NotFoundException", "NotFoundException", Class::Auth),
        ("ServiceUnavailable", "ServiceUnavailable", Class::Fault),
    ] {
        simulators.faults(&json!({ "ses": { "do": { "error": code } } }));
        let refusal = refused(send(&*ses, &mail()), class, told);
        assert!(!refusal.detail.contains('@'), "{}", refusal.detail);
    }
}

#[test]
fn what_may_have_gone_out_is_unknown() {
    let (simulators, ses) = start(None);
    for fault in [json!("reset"), json!("html502"), json!({ "error": "InternalFailure" })] {
        simulators.faults(&json!({ "ses": { "do": fault } }));
        unknown(&send(&*ses, &mail()));
    }
    simulators.faults(&json!({ "ses": { "do": "half" } }));
    assert_eq!(taken(send(&*ses, &mail())), None);
}

#[test]
fn a_wrong_key_is_found_by_its_signature() {
    let (_simulators, ses) = start(Some("canary-wrong"));
    refused(send(&*ses, &mail()), Class::Auth, "InvalidSignatureException");
}

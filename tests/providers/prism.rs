//! The Twilio carrier against Twilio's own description of its API, held by Prism, a server of others: what we ask for is allowed there, and
//! what our simulator answers is what Twilio says that it answers. What the two of ours agree on could be wrong on both sides.

use std::sync::Arc;
use std::time::Duration;

use router::provider::carriers::Carriers;
use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tempfile::TempDir;
use tests::process::{Plan, Process};
use tests::{Api, Response, Simulators, paths, ports, until_within};

use crate::support::{carriers, letter, refused, send, taken, unknown};

/// Prism reads 1.8 MB of description first, and node is not fast on a busy machine.
const START: Duration = Duration::from_secs(60);
const NUMBER: &str = "+4915112345678";

/// Refuses with 401 and 422 what the description does not allow, and with 500 what an upstream answers beside it.
struct Prism {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Prism {
    /// Answers by itself, with the description's examples.
    fn alone() -> Prism {
        Prism::start("mock", None)
    }

    fn before(upstream: &str) -> Prism {
        Prism::start("proxy", Some(upstream))
    }

    fn start(mode: &str, upstream: Option<&str>) -> Prism {
        let folder = paths::scratch("prism-");
        let port = ports::free().port().to_string();
        let program = paths::prepared("prism/node_modules/@stoplight/prism-cli/dist/index.js");
        let description = paths::prepared("prism/twilio_api_v2010.json");
        let mut arguments = vec![program.into(), mode.into(), "--errors".into()];
        arguments.extend(["-h", "127.0.0.1", "-p", &port].map(Into::into));
        arguments.push(description.into());
        arguments.extend(upstream.map(Into::into));
        let plan = Plan {
            program: "node".into(),
            arguments,
            environment: Vec::new(),
            folder: folder.path().to_path_buf(),
            log: folder.path().join("prism.log"),
        };
        let mut process = Process::start("prism", &plan);
        until_within(START, "Prism listens", || {
            assert!(process.ended().is_none(), "it ended: {}", process.log());
            process.log().contains("Prism is listening").then_some(())
        });
        Prism { url: format!("http://127.0.0.1:{port}"), _process: process, _folder: folder }
    }

    fn post(&self, resource: &str, key: Option<&str>, form: &str) -> Response {
        let path = format!("/2010-04-01/Accounts/AC{}/{resource}", "0".repeat(32));
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(key.map(|key| ("authorization", key)));
        let api = Api::new(&self.url, "");
        api.request("POST", &path, &headers, Some(form.as_bytes())).expect("an answer")
    }
}

/// SMS and calls of one account.
fn account(
    simulators: &Simulators,
    url: &str,
    account: &str,
    from: &str,
) -> (Arc<dyn Carrier>, Arc<dyn Carrier>) {
    let file = |name: &str, key: &str| simulators.file(name, &simulators.of("twilio", key));
    let Carriers { sms, voice, .. } = carriers(&format!(
        "[twilio]\naccount = \"{account}\"\nkey = \"{}\"\nsecret_file = \"{}\"\nauth_token_file = \"{}\"\nfrom = \"{from}\"\n\
         voice_from = \"+15005550007\"\nendpoint = \"{url}\"\nstatus_callback = \"https://hooks.example/v1/callbacks/twilio?tenant=1\"\n",
        simulators.of("twilio", "key"),
        file("twilio.secret", "secret"),
        file("twilio.token", "auth_token"),
    ));
    (sms.expect("SMS"), voice.expect("calls"))
}

fn phone(channel: Channel) -> Letter {
    let mut letter = letter(channel, Address::Phone(NUMBER.to_owned()));
    letter.body = Some("Grüße & <mehr> 👍".to_owned());
    letter
}

#[test]
fn what_we_ask_for_is_what_twilio_s_own_description_allows() {
    let (simulators, prism) = (Simulators::start(), Prism::alone());
    let of_account = simulators.of("twilio", "account");
    let service = format!("MG{}", "0".repeat(32));
    for from in ["+15005550006", &service] {
        let (sms, voice) = account(&simulators, &prism.url, &of_account, from);
        for ttl in [None, Some(Duration::from_secs(300))] {
            let answer = send(&*sms, &Letter { ttl, ..phone(Channel::Sms) });
            assert!(taken(answer).is_some_and(|id| id.starts_with("SM")), "{from}");
        }
        assert!(taken(send(&*voice, &phone(Channel::Voice))).is_some_and(|id| id.starts_with("CA")));
    }
}

#[test]
fn what_it_does_not_allow_is_refused_and_seen() {
    let (simulators, prism) = (Simulators::start(), Prism::alone());
    let key = Some("Basic YTpi");
    let sms = "To=%2B4915112345678&From=%2B15005550006&Body=Hi";
    assert_eq!(prism.post("Messages.json", key, sms).status, 201);
    for (resource, key, form, status, says) in [
        ("Messages.json", key, format!("{sms}&ValidityPeriod=soon"), 422, "ValidityPeriod must be integer"),
        ("Messages.json", key, format!("{sms}&MessagingServiceSid=MG1"), 422, "MessagingServiceSid"),
        ("Messages.json", key, "From=%2B15005550006&Body=Hi".to_owned(), 422, "required property 'To'"),
        ("Calls.json", key, "To=%2B4915112345678".to_owned(), 422, "required property 'From'"),
        ("Messages.json", None, sms.to_owned(), 401, "security"),
        ("Letters.json", key, sms.to_owned(), 404, "Route"),
    ] {
        let answer = prism.post(resource, key, &form);
        assert!(
            answer.status == status && answer.text.contains(says),
            "{form}: {} {}",
            answer.status,
            answer.text
        );
    }
    // The same through the carrier: an account that its settings take, and Twilio would not.
    let (sms, voice) = account(&simulators, &prism.url, &format!("AC{}", "z".repeat(32)), "+15005550006");
    refused(send(&*sms, &phone(Channel::Sms)), Class::Content, "HTTP 422");
    refused(send(&*voice, &phone(Channel::Voice)), Class::Content, "HTTP 422");
}

#[test]
fn what_our_simulator_answers_is_what_twilio_s_own_description_says() {
    let simulators = Simulators::start();
    let prism = Prism::before(&simulators.of("twilio", "url"));
    let (sms, voice) = account(&simulators, &prism.url, &simulators.of("twilio", "account"), "+15005550006");
    taken(send(&*sms, &phone(Channel::Sms)));
    taken(send(&*voice, &phone(Channel::Voice)));
    let received = simulators.received("twilio");
    assert_eq!(received.len(), 2, "both came through: {received:#?}");
    let wrong = json!({ "status": 201, "body": "{\"sid\":\"SM1\",\"status\":\"lost\"}" });
    simulators.faults(&json!({ "twilio": { "do": { "status": wrong } } }));
    unknown(&send(&*sms, &phone(Channel::Sms)));
    let form = "To=%2B4915112345678&From=%2B15005550006&Body=Hi";
    let seen = prism.post("Messages.json", Some("Basic YTpi"), form);
    for field in ["sid", "status"] {
        let says = format!("Response body property {field} must");
        assert!(seen.status == 500 && seen.text.contains(&says), "{}: {}", seen.status, seen.text);
    }
}

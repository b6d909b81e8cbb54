//! Amazon SNS with one topic, to which SES tells its events: asks an address first whether it may tell it, then posts to it, signed.
//!
//! Source: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html and …/SendMessageToHttp.prepare.html

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Provider;
use super::faults::Events;
use super::http::{Answered, Asked, Done};
use super::received::Letter;
use super::world::{Keeper, World};

mod events;
mod signer;

use events::Mail;

pub(super) use events::KINDS;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
const CERTIFICATE: &str = "/SimpleNotificationService-simulated.pem";
const PATIENCE: Duration = Duration::from_secs(15);
/// How often what was not taken is posted again, and after how long. SNS waits for longer.
const RETRIES: u32 = 3;
const AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("http://{at}"), "topic_arn": TOPIC })
}

/// The topic, and who is told of what is published to it.
#[derive(Debug, Default)]
pub(super) struct Topic(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Where this simulator is.
    url: String,
    endpoint: String,
    token: String,
    is_confirmed: bool,
}

impl Topic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_at(&self, at: SocketAddr) {
        self.lock().url = format!("http://{at}");
    }
}

/// Asks `endpoint` whether it wants to be told. It is told nothing before it has said so.
pub(super) fn subscribe(world: &World, endpoint: &str) {
    let (message, how) = {
        let mut topic = world.topic.lock();
        endpoint.clone_into(&mut topic.endpoint);
        topic.token = format!("2336412f37{:016x}", world.next_id());
        topic.is_confirmed = false;
        let url = format!("{}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={}", topic.url, topic.token);
        let said = json!({
            "Type": "SubscriptionConfirmation",
            "Token": topic.token,
            "Message": format!("You have chosen to subscribe to the topic {TOPIC}.\nTo confirm the subscription, visit the SubscribeURL included in this message."),
            "SubscribeURL": url,
        });
        let how = world.events();
        (whole(world, &topic.url, said, &how), how)
    };
    post_all(world, vec![message], &how);
}

/// What is told of a mail that SES took, if somebody wants to be told.
pub(super) fn tell(world: &World, document: &Value, id: &str, to: &str) {
    let Some(mail) = Mail::of(document, id, to) else { return };
    let how = world.events();
    let url = {
        let topic = world.topic.lock();
        if !topic.is_confirmed {
            return;
        }
        topic.url.clone()
    };
    let message = |kind: &String| {
        let event = events::event(kind, &mail, &now(world));
        let said = json!({ "Type": "Notification", "Subject": "Amazon SES Email Event Notification", "Message": event.to_string() });
        whole(world, &url, said, &how)
    };
    let messages = how.kinds.iter().map(message).flat_map(|one| vec![one; 1 + usize::from(how.twice)]);
    post_all(world, messages.collect(), &how);
}

/// With all that SNS puts around it, and signed.
fn whole(world: &World, url: &str, said: Value, how: &Events) -> Value {
    let Value::Object(mut message) = said else { return said };
    let mut put = |name: &str, value: String| message.insert(name.to_owned(), value.into());
    put("MessageId", format!("{:08x}-0000-4000-8000-000000000000", world.next_id()));
    put("TopicArn", how.topic.clone().unwrap_or_else(|| TOPIC.to_owned()));
    put("Timestamp", now(world));
    put("SignatureVersion", how.version.clone());
    put("SigningCertURL", how.certificate.clone().unwrap_or_else(|| format!("{url}{CERTIFICATE}")));
    let signature = signer::sign(&how.version, &signed(&message, how));
    message.insert("Signature".to_owned(), signature.into());
    Value::Object(message)
}

/// A forgery is signed, but not over what it says.
fn signed(message: &Map<String, Value>, how: &Events) -> String {
    let text = signer::text(message);
    if how.forged { text.replacen("MessageId\n", "MessageId\n0", 1) } else { text }
}

/// SNS's times have milliseconds.
fn now(world: &World) -> String {
    let text = world.clock.wall().to_string();
    format!("{}Z", text.get(..23).unwrap_or_default())
}

/// One behind the other, each until it is taken or was tried often enough. All answers are kept.
fn post_all(world: &World, messages: Vec<Value>, how: &Events) {
    let (keeper, every) = (world.keeper(), Duration::from_millis(how.every_ms));
    let endpoint = world.topic.lock().endpoint.clone();
    tokio::spawn(async move {
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        let agent = ureq::Agent::from(settings);
        for message in messages {
            tokio::time::sleep(every).await;
            for _ in 0..=RETRIES {
                let status = post(&agent, &endpoint, &message).await;
                keep(&keeper, &endpoint, &message, status);
                if (200..500).contains(&status) {
                    break;
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    });
}

/// The answer's status; 0: there is none.
async fn post(agent: &ureq::Agent, endpoint: &str, message: &Value) -> u16 {
    let request = agent
        .post(endpoint)
        .header("Content-Type", "text/plain; charset=UTF-8")
        .header("x-amz-sns-message-type", message["Type"].as_str().unwrap_or_default());
    let body = message.to_string();
    let sent = tokio::task::spawn_blocking(move || request.send(body)).await;
    sent.ok().and_then(Result::ok).map_or(0, |answer| answer.status().as_u16())
}

fn keep(keeper: &Keeper, endpoint: &str, message: &Value, status: u16) {
    keeper.keep(Letter {
        number: 0,
        at: keeper.clock.wall(),
        provider: Provider::Sns,
        to: endpoint.to_owned(),
        taken: (200..300).contains(&status),
        answer: status.to_string(),
        content: message.clone(),
    });
}

pub(super) fn address(asked: &Asked) -> String {
    asked.path.clone()
}

pub(super) fn content(asked: &Asked) -> Value {
    json!({ "query": asked.query })
}

pub(super) fn error(code: &str) -> Answered {
    let status = if code == "Throttled" { 400 } else { 500 };
    Answered::text(status, &format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"))
}

/// The certificate, or somebody who says yes.
pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let query: Vec<(String, String)> = form_urlencoded::parse(asked.query.as_bytes()).into_owned().collect();
    let says = |name: &str, value: &str| query.iter().any(|(key, found)| key == name && found == value);
    let mut topic = world.topic.lock();
    let answer = if asked.path == CERTIFICATE {
        Answered::text(200, signer::CERTIFICATE)
    } else if says("Action", "ConfirmSubscription") && says("TopicArn", TOPIC) && says("Token", &topic.token)
    {
        topic.is_confirmed = true;
        Answered::text(200, "<ConfirmSubscriptionResponse/>")
    } else {
        error("NotFound")
    };
    Done { to: address(asked), content: content(asked), answer }
}

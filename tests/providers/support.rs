//! Carriers made from settings as an operator writes them, and letters for them.

use std::future::Future;
use std::sync::OnceLock;

use ops::clock::Clock;
use router::config::ProviderConfig;
use router::config::provider::ProviderSection;
use router::owner::DeliveryKey;
use router::provider::carriers::Carriers;
use router::provider::letter::{Address, Answer, Carrier, Class, Letter, Refusal};
use router::record::Channel;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use uuid::Uuid;
use wire::message::Priority;

/// One runtime for all tests: connections outlive a single call.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

pub(crate) fn wait<T>(done: impl Future<Output = T>) -> T {
    runtime().block_on(done)
}

/// Beside whatever else goes on.
pub(crate) fn spawn<T: Send + 'static>(done: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    runtime().spawn(done)
}

/// What `[provider]` with this text gives.
pub(crate) fn config(text: &str) -> ProviderConfig {
    let section: ProviderSection = toml::from_str(text).expect("settings");
    section.checked().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) fn carriers(text: &str) -> Carriers {
    let config = config(text);
    wait(async { Carriers::new(&config, Clock::start()) })
}

pub(crate) fn letter(channel: Channel, to: Address) -> Letter {
    Letter {
        delivery: DeliveryKey { id: Uuid::from_u128(0x0123_4567), channel, user: "ada & co".to_owned() },
        to,
        priority: Priority::Critical,
        category: Some("disk".to_owned()),
        title: Some("Disk almost full".to_owned()),
        body: Some("db-3 has 4 % left".to_owned()),
        data: None,
        collapse_key: None,
        ttl: None,
        html: None,
        digest: None,
        unsubscribe: None,
    }
}

pub(crate) fn send(carrier: &dyn Carrier, letter: &Letter) -> Answer {
    wait(carrier.send(letter))
}

#[track_caller]
pub(crate) fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(answer: Answer, class: Class, code: &str) -> Refusal {
    let refusal = refusal(answer);
    assert_eq!((refusal.class, refusal.code.as_str()), (class, code), "{refusal:?}");
    refusal
}

#[track_caller]
pub(crate) fn unknown(answer: &Answer) {
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
}

#[track_caller]
pub(crate) fn taken(answer: Answer) -> Option<String> {
    match answer {
        Answer::Taken { reference } => reference,
        other => panic!("not taken: {other:?}"),
    }
}

//! A whole system whose every provider is simulated: FCM, a mail server, and Twilio with its callbacks.

use serde_json::{Value, json};
use tests::{Setup, Simulators, Tocsin};

use crate::fcm;

pub(crate) struct House {
    pub(crate) tocsin: Tocsin,
    pub(crate) simulators: Simulators,
}

/// What no log and no metric may show.
pub(crate) const SECRETS: [&str; 3] = ["simulated-secret", "simulated-token", "BEGIN PRIVATE KEY"];

impl House {
    pub(crate) fn start(change: impl FnOnce(Setup) -> Setup) -> House {
        House::of(Simulators::start(), change)
    }

    pub(crate) fn of(simulators: Simulators, change: impl FnOnce(Setup) -> Setup) -> House {
        let (credentials, _) = fcm::account(&simulators);
        let setup = Setup::standalone();
        let status_callback = format!("http://{}/v1/callbacks/twilio", setup.text("router.api"));
        let setup = simulators
            .carry(setup)
            .set("provider.fcm.credentials", credentials)
            .set("provider.fcm.endpoint", simulators.of("fcm", "url"))
            .set(
                "provider.twilio.auth_token_file",
                simulators.file("twilio.token", &simulators.of("twilio", "auth_token")),
            )
            .set("provider.twilio.voice_from", "+15005550007")
            .set("provider.twilio.status_callback", status_callback);
        House { tocsin: change(setup).start(), simulators }
    }

    /// Where a user is reached. A phone number and a mail address of each user's own.
    pub(crate) fn knows(&self, user: &str, number: u32) -> Contacts {
        let contacts = Contacts {
            phone: format!("+49151{number:08}"),
            email: format!("{user}@mail.example"),
            token: format!("token-of-{user}"),
        };
        let Contacts { phone, email, token } = &contacts;
        let said = json!({ "phone": phone, "email": email, "push": [{ "kind": "fcm", "token": token }] });
        self.tocsin.api().send("PUT", &format!("/v1/users/{user}/contacts"), &said).expect(200);
        contacts
    }

    /// What came to a provider for this address.
    pub(crate) fn letters(&self, provider: &str, to: &str) -> Vec<Value> {
        self.simulators.received_for(provider, to)
    }

    /// Of a notification to one user, by one channel.
    pub(crate) fn delivery(&self, id: &str, channel: &str) -> Value {
        let story = self.tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
        let all = story["deliveries"].as_array().expect("a list").clone();
        all.into_iter().find(|one| one["channel"] == channel).unwrap_or_default()
    }

    /// How one account does, as the operator is shown it.
    pub(crate) fn account(&self, way: &str) -> Value {
        let status = self.tocsin.api().get("/v1/status").expect(200).json();
        let all = status["providers"].as_array().expect("a list").clone();
        all.into_iter().find(|one| one["way"] == way).unwrap_or_else(|| panic!("no {way} in {status}"))
    }
}

pub(crate) struct Contacts {
    pub(crate) phone: String,
    pub(crate) email: String,
    pub(crate) token: String,
}

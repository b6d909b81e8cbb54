//! The simulated providers as a process: started, told what to do wrong, and asked what came.

use serde_json::Value;
use tempfile::TempDir;

use crate::api::{Api, Response};
use crate::deadline::until;
use crate::paths;
use crate::process::{Plan, Process};
use crate::setup::Setup;

/// `loadtest providers`, on free ports.
#[derive(Debug)]
pub struct Simulators {
    pub process: Process,
    addresses: Value,
    control: Api,
    folder: TempDir,
}

impl Simulators {
    /// # Panics
    /// When they do not start.
    pub fn start() -> Simulators {
        let folder = paths::scratch("providers-");
        let plan = Plan {
            program: paths::program("loadtest"),
            arguments: vec!["providers".into()],
            environment: Vec::new(),
            folder: folder.path().to_path_buf(),
            log: folder.path().join("providers.log"),
        };
        let mut process = Process::start("providers", &plan);
        let addresses: Value = until("the simulators listen", || {
            assert!(process.ended().is_none(), "they ended: {}", process.log());
            process.log().lines().find_map(|line| serde_json::from_str(line).ok())
        });
        let control = Api::new(addresses["control"].as_str().expect("an address"), "");
        Simulators { process, addresses, control, folder }
    }

    /// What `loadtest providers` says of one of them.
    ///
    /// # Panics
    /// When it says nothing of that name.
    pub fn of(&self, provider: &str, key: &str) -> String {
        let found = self.addresses[provider][key].as_str();
        found.unwrap_or_else(|| panic!("{provider}.{key} is not in {}", self.addresses)).to_owned()
    }

    /// # Panics
    /// When the rules are not taken.
    pub fn faults(&self, rules: &Value) {
        self.control.send("PUT", "/faults", rules).expect(200);
    }

    /// SNS asks the router at this address whether it wants to be told of SES's mails.
    ///
    /// # Panics
    /// When the simulators are gone.
    pub fn subscribe(&self, endpoint: &str) {
        self.control.send("PUT", "/subscription", &serde_json::json!({ "endpoint": endpoint })).expect(200);
    }

    /// Nothing wrong, and nothing received.
    ///
    /// # Panics
    /// When the simulators are gone.
    pub fn calm(&self) {
        self.faults(&serde_json::json!({}));
        let cleared = self.control.request("DELETE", "/received", &[], None);
        cleared.expect("the simulators answer").expect(200);
    }

    /// A system that sends mail and SMS here.
    pub fn carry(&self, setup: Setup) -> Setup {
        let twilio = |key: &str| self.of("twilio", key);
        setup
            .set("provider.smtp.url", self.of("smtp", "url"))
            .set("provider.smtp.from", "alerts@shop.example")
            .set("provider.twilio.account", twilio("account"))
            .set("provider.twilio.key", twilio("key"))
            .set("provider.twilio.secret_file", self.file("twilio.secret", &twilio("secret")))
            .set("provider.twilio.from", "+15005550006")
            .set("provider.twilio.endpoint", twilio("url"))
    }

    /// What came to one of them for this address, oldest first.
    ///
    /// # Panics
    /// When the simulators are gone.
    pub fn received_for(&self, provider: &str, to: &str) -> Vec<Value> {
        let mut all = self.received(provider);
        all.retain(|letter| letter["to"] == to);
        all
    }

    /// What came to one of them, oldest first.
    ///
    /// # Panics
    /// When the simulators are gone.
    pub fn received(&self, provider: &str) -> Vec<Value> {
        let answer: Response = self.control.get(&format!("/received?provider={provider}")).expect(200);
        answer.json()["letters"].as_array().expect("a list").clone()
    }

    /// Writes a file that settings name, and gives its path.
    ///
    /// # Panics
    /// When the disk cannot be written.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

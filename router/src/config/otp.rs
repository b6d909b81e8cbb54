//! `[otp]`: by which channels a one-use code goes, how long each is given, and when a provider is thought to be broken (of
//! every channel, not of codes alone).

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::file::within;
use super::service::secret_from_file;
use crate::breaker::{self, Rules as BreakerRules};
use crate::otp::{Rules, SealKey};
use crate::record::Channel;

/// Bytes of a key that codes are sealed with: fewer can be guessed.
const SEAL_KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=1_024;

/// By which channels a code goes if nothing is said.
const LADDER: [Channel; 4] = [Channel::Sms, Channel::Push, Channel::Email, Channel::Voice];

/// `[otp]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtpSection {
    /// Absent: SMS, push, e-mail, a call.
    pub(super) ladder: Option<Vec<Channel>>,
    sms_receipt_s: u32,
    push_ack_s: u32,
    email_s: u32,
    voice_s: u32,
    seal_key_file: Option<String>,
    /// Errors within the window after which nobody is sent there.
    breaker_errors: u32,
    breaker_window_s: u64,
    /// How often one is sent there all the same, to see.
    probe_s: u64,
}

impl Default for OtpSection {
    fn default() -> OtpSection {
        OtpSection {
            ladder: None,
            sms_receipt_s: 20,
            push_ack_s: 10,
            email_s: 60,
            voice_s: 45,
            seal_key_file: None,
            breaker_errors: 5,
            breaker_window_s: 60,
            probe_s: 60,
        }
    }
}

/// `[otp]` as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtpConfig {
    pub rules: Rules,
    /// `None`: one that is kept in the data folder.
    pub seal_key: Option<SealKey>,
    pub breaker: BreakerRules,
}

impl OtpSection {
    pub(super) fn checked(&self) -> Result<OtpConfig, ConfigError> {
        let seconds = [
            (Channel::Sms, "sms_receipt_s", self.sms_receipt_s),
            (Channel::Push, "push_ack_s", self.push_ack_s),
            (Channel::Email, "email_s", self.email_s),
            (Channel::Voice, "voice_s", self.voice_s),
        ];
        for (_, key, value) in seconds {
            within("otp", key, value.into(), 1, 3_600)?;
        }
        within("otp", "breaker_errors", self.breaker_errors.into(), 1, 1_000)?;
        within("otp", "breaker_window_s", self.breaker_window_s, 1, breaker::WINDOW_S_MAX)?;
        within("otp", "probe_s", self.probe_s, 1, 3_600)?;
        let wrong = |why: &str| Err(ConfigError::wrong("otp", "ladder", why));
        let ladder = self.ladder.as_deref().unwrap_or(&LADDER);
        if ladder.is_empty() {
            return wrong("a code goes by one channel at least");
        }
        for (i, channel) in ladder.iter().enumerate() {
            if *channel == Channel::Inapp {
                return wrong(
                    "a code that proves who somebody is does not go to who is already in: no inapp",
                );
            }
            if ladder[..i].contains(channel) {
                return wrong("a channel stands twice");
            }
        }
        let used = seconds.into_iter().filter(|(channel, ..)| ladder.contains(channel));
        let within_s = used.map(|(channel, _, seconds)| (channel, seconds)).collect();
        Ok(OtpConfig {
            rules: Rules { ladder: ladder.to_vec(), within_s },
            seal_key: self.seal_key_file.as_deref().map(seal_key).transpose()?,
            breaker: BreakerRules {
                errors: self.breaker_errors,
                window: Duration::from_secs(self.breaker_window_s),
                probe: Duration::from_secs(self.probe_s),
            },
        })
    }
}

fn seal_key(file: &str) -> Result<SealKey, ConfigError> {
    let key = secret_from_file(Path::new(file))?;
    if !SEAL_KEY_BYTES.contains(&key.len()) {
        let (least, most) = SEAL_KEY_BYTES.into_inner();
        let why = format!("a key has {least}..={most} bytes; this one has {}", key.len());
        return Err(ConfigError::Secret { file: file.into(), why });
    }
    Ok(SealKey::new(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OtpConfig, String> {
        let section: OtpSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_contract_s_and_a_shorter_ladder_has_its_own_times_only() {
        let OtpConfig { rules, breaker, .. } = read("").expect("defaults");
        assert_eq!(rules.ladder, [Channel::Sms, Channel::Push, Channel::Email, Channel::Voice]);
        assert_eq!((rules.within_s[&Channel::Sms], rules.within_s[&Channel::Push]), (20, 10));
        assert_eq!((breaker.errors, breaker.window.as_secs(), breaker.probe.as_secs()), (5, 60, 60));
        let short = read("ladder = [\"voice\"]\nvoice_s = 7").expect("a ladder").rules;
        assert_eq!(short.within_s.into_iter().collect::<Vec<_>>(), [(Channel::Voice, 7)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for (text, part) in [
            ("ladder = []", "ladder"),
            ("ladder = [\"sms\", \"sms\"]", "twice"),
            ("ladder = [\"inapp\"]", "inapp"),
            ("ladder = [\"fax\"]", "fax"),
            ("sms_receipt_s = 0", "sms_receipt_s"),
            ("breaker_errors = 0", "breaker_errors: 0 is not in 1..=1000"),
            ("breaker_window_s = 601", "breaker_window_s: 601 is not in 1..=600"),
            ("probe_s = 0", "probe_s"),
            ("seal_key_file = \"/nowhere/at/all\"", "/nowhere/at/all"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "too short").expect("a file");
        let error = read(&format!("seal_key_file = {:?}", file.path())).expect_err("nine bytes");
        assert!(error.contains("32..=1024") && !error.contains("too short"), "{error}");
    }
}

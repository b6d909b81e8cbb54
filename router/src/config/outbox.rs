//! `[router] outbox`: what becomes of a channel that no account carries.
//!
//! One process with its gateway, or a router that has no account at all, is there to look at: the outbox keeps everything. A separate
//! router with accounts is there to reach people: what names a channel that it has no account for is dropped, in sight, unless the
//! settings say that the outbox keeps it.

use super::file::Settings;
use super::{ConfigError, ProviderConfig};
use crate::record::Channel;

/// Channels whose deliveries are dropped as `no_account`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unkept {
    pub channels: Vec<Channel>,
    /// A separate router, and nobody said that the outbox keeps what it keeps.
    is_trial: bool,
}

impl Unkept {
    pub(super) fn of(
        settings: &Settings,
        accounts: &ProviderConfig,
        standalone: bool,
    ) -> Result<Unkept, ConfigError> {
        let asked = settings.router.outbox.as_deref();
        check(asked.unwrap_or_default(), accounts)?;
        let has_accounts = !accounts.names().is_empty();
        let keeps_all = asked.is_none() && (standalone || !has_accounts);
        let is_kept = |channel: &Channel| keeps_all || asked.is_some_and(|asked| asked.contains(channel));
        let uncarried = Channel::ALL.into_iter().filter(|channel| !accounts.carry(*channel));
        let channels: Vec<Channel> = uncarried.filter(|channel| !is_kept(channel)).collect();
        // Beside accounts the outbox keeps no codes, whatever it is told to keep: nobody could tell them from there.
        let keeps_no_codes = !standalone && has_accounts;
        let goes_nowhere =
            |channel: &Channel| channels.contains(channel) || (keeps_no_codes && !accounts.carry(*channel));
        if let Some(channel) = settings.otp.ladder.iter().flatten().find(|channel| goes_nowhere(channel)) {
            let kept = if keeps_no_codes {
                "beside accounts the outbox keeps none"
            } else {
                "[router] outbox does not name it"
            };
            let why = format!(
                "{:?} has no account in [provider], so no code would go there: {kept}",
                channel.name()
            );
            return Err(ConfigError::wrong("otp", "ladder", why));
        }
        Ok(Unkept { channels, is_trial: keeps_all && !standalone })
    }

    /// Once, at a start.
    pub fn say(&self) {
        if self.is_trial {
            tracing::warn!(
                "no [provider] has an account: push, e-mail, SMS and calls reach nobody, the outbox keeps them"
            );
        }
        if !self.channels.is_empty() {
            let names: Vec<_> = self.channels.iter().map(|channel| channel.name()).collect();
            tracing::warn!(
                "no account carries {}: what is for these is dropped as no_account ([router] outbox keeps it instead)",
                names.join(", ")
            );
        }
    }
}

fn check(asked: &[Channel], accounts: &ProviderConfig) -> Result<(), ConfigError> {
    let wrong = |why: String| Err(ConfigError::wrong("router", "outbox", why));
    for (i, channel) in asked.iter().enumerate() {
        let name = channel.name();
        if *channel == Channel::Inapp {
            return wrong("what is in the app has its inbox: no inapp".to_owned());
        }
        if accounts.carry(*channel) {
            return wrong(format!("{name:?} has an account in [provider], so the outbox gets none of it"));
        }
        if asked[..i].contains(channel) {
            return wrong(format!("{name:?} stands twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, file};
    use super::*;

    const SMTP: &str = "[provider.smtp]\nurl = \"smtps://mail.example\"\nfrom = \"a@shop.example\"\n";
    const SERVICE: &str = "[[router.service]]\nname = \"a\"\nkey = \"k\"\n";

    fn unkept(text: &str, standalone: bool) -> Result<Unkept, String> {
        let text = format!("{text}{SERVICE}");
        let settings = ops::settings::parse(&text, "router.toml", &file::SECTIONS, std::iter::empty())
            .map_err(|error| error.to_string())?;
        let config = Config::from_settings(&settings, None, standalone);
        config.map(|config| config.unkept).map_err(|error| error.to_string())
    }

    #[test]
    fn a_separate_router_with_accounts_keeps_only_what_it_is_told_to() {
        use Channel::{Email, Push, Sms, Voice};
        let outbox = |list: &str| format!("[router]\noutbox = {list}\n");
        for (text, standalone, dropped) in [
            (String::new(), true, vec![]),
            (SMTP.to_owned(), true, vec![]),
            (String::new(), false, vec![]),
            (SMTP.to_owned(), false, vec![Push, Sms, Voice]),
            (format!("{}{SMTP}", outbox("[\"sms\", \"voice\"]")), false, vec![Push]),
            (outbox("[\"sms\"]"), true, vec![Push, Email, Voice]),
            (outbox("[]"), false, vec![Push, Email, Sms, Voice]),
        ] {
            assert_eq!(unkept(&text, standalone).unwrap().channels, dropped, "{standalone} {text}");
        }
        assert!(unkept("", false).unwrap().is_trial && !unkept(SMTP, false).unwrap().is_trial);
    }

    #[test]
    fn what_contradicts_itself_has_one_clear_line() {
        for (text, says) in [
            (format!("[router]\noutbox = [\"email\"]\n{SMTP}"), "[router] outbox: \"email\" has an account"),
            ("[router]\noutbox = [\"inapp\"]\n".to_owned(), "no inapp"),
            ("[router]\noutbox = [\"sms\", \"sms\"]\n".to_owned(), "\"sms\" stands twice"),
            (format!("[otp]\nladder = [\"email\", \"sms\"]\n{SMTP}"), "[otp] ladder: \"sms\" has no account"),
            (
                format!("[router]\noutbox = [\"sms\"]\n[otp]\nladder = [\"email\", \"sms\"]\n{SMTP}"),
                "beside accounts the outbox keeps none",
            ),
            (
                "[router]\noutbox = [\"sms\"]\n[otp]\nladder = [\"email\"]\n".to_owned(),
                "[router] outbox does not name it",
            ),
        ] {
            let error = unkept(&text, false).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}\n{error}");
        }
        let ladder = format!("[otp]\nladder = [\"email\", \"sms\"]\n{SMTP}");
        assert!(unkept(&ladder, true).is_ok(), "one process with its gateway is there to look at");
        let no_account = "[otp]\nladder = [\"email\", \"sms\"]\n";
        assert!(unkept(no_account, false).is_ok(), "a trial: the outbox shows the codes");
    }
}

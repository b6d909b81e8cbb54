//! Which account carries what: made from the settings, at a start and again when they are reloaded.

use std::sync::Arc;

use ops::clock::Clock;

use super::apns::Apns;
use super::fcm::Fcm;
use super::letter::{Address, Carrier};
use super::ses::Ses;
use super::smtp::Smtp;
use super::twilio;
use super::webpush::WebPush;
use crate::config::ProviderConfig;
use crate::record::Channel;

type One = Option<Arc<dyn Carrier>>;

/// The accounts that there are, by what they reach.
#[derive(Clone, Default)]
pub struct Carriers {
    pub fcm: One,
    pub apns: One,
    pub webpush: One,
    pub email: One,
    pub sms: One,
    pub voice: One,
}

impl std::fmt::Debug for Carriers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all().map(|carrier| carrier.name())).finish()
    }
}

impl Carriers {
    /// Makes no connection. On a Tokio runtime, since idle connections are watched.
    pub fn new(config: &ProviderConfig, clock: Clock) -> Carriers {
        let (sms, voice) = config.twilio.as_ref().map(|config| twilio::carriers(config, clock)).unzip();
        let ses = carrier(config.ses.as_ref().map(|config| Ses::new(config, clock)));
        let smtp = carrier(config.smtp.as_ref().map(|config| Smtp::new(config, clock)));
        Carriers {
            fcm: carrier(config.fcm.as_ref().map(|config| Fcm::new(config, clock))),
            apns: carrier(config.apns.as_ref().map(|config| Apns::new(config, clock))),
            webpush: carrier(config.webpush.as_ref().map(|config| WebPush::new(config, clock))),
            email: ses.or(smtp),
            sms: carrier(sms),
            voice: carrier(voice.flatten()),
        }
    }

    /// Who carries what goes to `to` by `channel`.
    pub fn of(&self, to: &Address, channel: Channel) -> Option<&Arc<dyn Carrier>> {
        match (to, channel) {
            (Address::Fcm(_), _) => self.fcm.as_ref(),
            (Address::Apns { .. }, _) => self.apns.as_ref(),
            (Address::WebPush { .. }, _) => self.webpush.as_ref(),
            (Address::Email(_), _) => self.email.as_ref(),
            (Address::Phone(_), Channel::Voice) => self.voice.as_ref(),
            (Address::Phone(_), _) => self.sms.as_ref(),
        }
    }

    /// Whether anything of `channel` can be carried.
    pub fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Inapp => false,
            Channel::Push => [&self.fcm, &self.apns, &self.webpush].into_iter().any(Option::is_some),
            Channel::Email => self.email.is_some(),
            Channel::Sms => self.sms.is_some(),
            Channel::Voice => self.voice.is_some(),
        }
    }

    /// Each account, for breakers, budgets and metrics.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Carrier>> {
        let all = [&self.fcm, &self.apns, &self.webpush, &self.email, &self.sms, &self.voice];
        all.into_iter().flatten()
    }
}

fn carrier<C: Carrier + 'static>(one: Option<C>) -> One {
    one.map(|carrier| Arc::new(carrier) as Arc<dyn Carrier>)
}

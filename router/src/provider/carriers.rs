//! Which account carries what: made from the settings, at a start and again when they are reloaded.

use std::sync::Arc;

use ops::clock::Clock;

use super::apns::Apns;
use super::fcm::Fcm;
use super::letter::Carrier;
use super::ses::Ses;
use super::smtp::Smtp;
use super::twilio;
use super::way::Way;
use super::webpush::WebPush;
use crate::config::ProviderConfig;

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
        f.debug_list().entries(self.all().map(|(_, carrier)| carrier.name())).finish()
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

    /// Each with the way that it carries.
    pub fn all(&self) -> impl Iterator<Item = (Way, &Arc<dyn Carrier>)> {
        let all = [
            (Way::Fcm, &self.fcm),
            (Way::Apns, &self.apns),
            (Way::WebPush, &self.webpush),
            (Way::Email, &self.email),
            (Way::Sms, &self.sms),
            (Way::Voice, &self.voice),
        ];
        all.into_iter().filter_map(|(way, carrier)| Some((way, carrier.as_ref()?)))
    }
}

fn carrier<C: Carrier + 'static>(one: Option<C>) -> One {
    one.map(|carrier| Arc::new(carrier) as Arc<dyn Carrier>)
}

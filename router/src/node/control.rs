//! What a running router takes over from settings that changed: who may call, their quotas and rights, where they are told of
//! outcomes, the limits, the keys of providers' accounts, and templates.
//!
//! Everything else (where it listens, what it keeps and where, Kafka) is read at a start; that it changed is said, not
//! passed over. Called by the signals' thread of a program, with settings that were checked as a whole.

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::inputs::Input;
use crate::api::WeakApp;
use crate::config::Config;
use crate::owner::OwnerLimits;
use crate::provider::carriers::Carriers;
use crate::provider::dispatch;

/// A hold on a running router that does not keep it running.
#[derive(Debug)]
pub struct Control {
    pub(super) app: WeakApp,
    pub(super) inputs: mpsc::WeakSender<Input>,
    /// Where connections to providers live.
    pub(super) runtime: Handle,
    /// As it was started.
    pub(super) started: Config,
}

impl Control {
    /// Takes over what can be; the names of what changed and waits for the next start. Blocks until the owner has room
    /// to be told, so never called from inside a runtime.
    pub fn reload(&self, config: &Config) -> Vec<&'static str> {
        if let (Some(app), Some(inputs)) = (self.app.upgrade(), self.inputs.upgrade()) {
            app.metrics.add_services(config.services.iter().map(|service| service.name.as_str()));
            app.intake.change_services(&config.services);
            app.access.change(config);
            for receiver in &app.receivers {
                let now = config.told_of_outcomes().into_iter();
                for (_, webhook) in now.filter(|(service, _)| *service == receiver.hearer.service()) {
                    receiver.point_at(webhook);
                }
            }
            let _inside = self.runtime.enter();
            app.dispatch.cap(config.providers.caps());
            app.dispatch.word(config.templates.clone());
            app.dispatch.change(dispatch::accounts(
                &Carriers::new(&config.providers, app.clock),
                &config.providers.budgets,
            ));
            // Gone only with the owner, and then nothing is limited any more.
            let _owner_gone = inputs.blocking_send(Input::Limits(owner_limits(config)));
        }
        self.started.waiting_for_a_start(config)
    }

    /// The same, with one line in the log of what was taken over, and one of what was not.
    pub fn say_reloaded(&self, config: &Config) {
        let waiting = self.reload(config);
        tracing::info!(
            "service keys, rights, quotas, webhooks, limits, origins, providers' accounts and templates reloaded"
        );
        if !waiting.is_empty() {
            tracing::warn!("changed, and read at the next start only: {}", waiting.join(", "));
        }
    }
}

pub(super) fn owner_limits(config: &Config) -> OwnerLimits {
    let limits = &config.limits;
    OwnerLimits {
        push_per_user_hour: limits.push_per_user_hour,
        global_per_s: limits.global_per_s,
        shed_low_percent: limits.shed_low_percent,
    }
}

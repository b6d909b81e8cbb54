//! `GET /v1/otp`: the last one-use codes, rung by rung, for operators who watch them live.
//!
//! Every service's codes, so under an operator's key alone. Never a code, an address or a number; of a user as much as tells one from
//! another beside a clock. What became of a code is said as `otp` says it to its service.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::Wall;

use super::auth::Caller;
use super::otp::{self, Rung};
use super::problem::{Kind, Problem};
use super::query::{Asked, page_limit};
use super::{App, here};
use crate::limits::LADDERS_SHOWN_MAX;
use crate::otp::{Otp, Rules};
use crate::owner::view::Timeline;
use crate::provider::health;
use crate::store::StoreError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LaddersAsked {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct LaddersShown {
    /// Newest first.
    items: Vec<Ladder>,
}

#[derive(Serialize)]
struct Ladder {
    id: Uuid,
    service: String,
    /// Its beginning.
    user: String,
    state: &'static str,
    /// `None`: the owner has not seen it yet.
    accepted_at: Option<Wall>,
    expires_at: Wall,
    rungs: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    #[serde(flatten)]
    rung: Rung,
    /// How long ago it came there.
    age_s: Option<u64>,
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(service): Caller,
    Asked(asked): Asked<LaddersAsked>,
) -> Result<axum::Json<LaddersShown>, Problem> {
    if !service.operator {
        return Err(Problem::new(
            Kind::Forbidden,
            "only a service with `operator` may see everybody's codes",
        ));
    }
    let limit = page_limit(asked.limit, LADDERS_SHOWN_MAX)?;
    let found = app
        .look(move |parts| parts.view.newest_otps(limit))
        .await
        .map_err(|error: StoreError| Problem::from(error))?;
    let found = here(found)?.unwrap_or_default();
    let now = app.clock.wall();
    let ladder = |(id, otp, timeline): (Uuid, Otp, Option<Timeline>)| {
        ladder(&app.codes.rules, (id, &otp), timeline.as_ref(), now)
    };
    Ok(axum::Json(LaddersShown { items: found.into_iter().map(ladder).collect() }))
}

fn ladder(rules: &Rules, (id, otp): (Uuid, &Otp), timeline: Option<&Timeline>, now: Wall) -> Ladder {
    let rungs = otp::rungs(rules, timeline);
    let state = otp::state(rules, otp, &rungs, now);
    Ladder {
        id,
        service: otp.service.clone(),
        user: masked(&otp.user),
        state,
        accepted_at: timeline.map(|timeline| timeline.accepted_at),
        expires_at: otp.expires_at,
        rungs: rungs.into_iter().map(|rung| step(rung, now)).collect(),
    }
}

fn step(rung: Rung, now: Wall) -> Step {
    let age_us = rung.at.map(|at| now.0.saturating_sub(at.0));
    let age_s = age_us.map(|us| u64::try_from(us / 1_000_000).unwrap_or(0));
    let reason = rung.reason.as_deref().map(|reason| health::shown(reason).to_owned());
    Step { rung: Rung { reason, ..rung }, age_s }
}

/// An id may be an address or a number: its first two characters, and of a short one the first.
fn masked(user: &str) -> String {
    let shown = if user.chars().count() > 3 { 2 } else { 1 };
    user.chars().take(shown).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::view::{DeliveryView, Moment};
    use crate::record::Channel;
    use wire::message::Priority;

    #[test]
    fn a_ladder_tells_how_far_it_came_and_nobody_s_name_number_or_code() {
        let rules =
            Rules { ladder: vec![Channel::Sms, Channel::Email], within_s: [(Channel::Sms, 20)].into() };
        let otp = Otp {
            service: "shop".into(),
            user: "ann@example.org".into(),
            seal: [0; 32],
            guesses_left: 5,
            over_at: Wall(0),
            expires_at: Wall(300_000_000),
            verified_at: None,
            contacts: None,
        };
        let moment =
            Moment { at: Wall(7_000_000), what: "answered".into(), detail: Some("+49301234".into()) };
        let delivery = DeliveryView {
            recipient: "user:ann@example.org".into(),
            channel: Channel::Sms,
            state: "dropped".into(),
            reason: Some("21211 for +4930123456, 314159 is your code".into()),
            due_at: None,
            created_at: None,
            sockets: 0,
            acknowledgements: 0,
            attempts: 1,
            timeline: vec![moment],
        };
        let timeline = Timeline {
            id: Uuid::nil(),
            service: "shop".into(),
            priority: Priority::Critical,
            category: None,
            accepted_at: Wall(5_000_000),
            send_at: None,
            expires_at: None,
            deliveries: vec![delivery],
            more: false,
            is_list: false,
        };
        let shown = ladder(&rules, (Uuid::nil(), &otp), Some(&timeline), Wall(9_500_000));
        let json = serde_json::to_value(shown).expect("JSON");
        assert_eq!((&json["user"], &json["state"]), (&"an…".into(), &"sending".into()));
        let rungs = &json["rungs"];
        assert_eq!((&rungs[0]["age_s"], &rungs[0]["reason"]), (&2.into(), &"other".into()));
        assert_eq!((&rungs[1]["state"], &rungs[1]["age_s"]), (&"waiting".into(), &serde_json::Value::Null));
        let text = json.to_string();
        for secret in ["example.org", "4930", "314159", "contacts", "seal"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(["a", "bob", "anna", ""].map(masked), ["a…", "b…", "an…", "…"]);
    }
}

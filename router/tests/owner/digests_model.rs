//! Random nights of one user, against what must hold: the equation, one letter where several waited, none in quiet hours, every
//! notification in as many letters as its story says, and in the end nothing open and nothing that waits.

use std::time::Duration;

use proptest::prelude::*;
use router::owner::{Answered, Command, DeliveryKey, Outcome, OwnerConfig, ProviderCall, Said};
use router::preferences::Preferences;
use router::provider::letter::{Answer, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{Order, Range, Space, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{PARTITIONS, World};

const USER: &str = "ann";
const DAY_S: u64 = 24 * 3_600;

#[derive(Debug, Clone)]
enum Step {
    Send { channel: u8, category: u8, ttl: u8 },
    Read(u16),
    Cancel(u16),
    Wish(u8),
    Answer { which: u16, how: u8 },
    Pass(u32),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(channel, category, ttl)| Step::Send { channel, category, ttl }),
        1 => any::<u16>().prop_map(Step::Read),
        1 => any::<u16>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Wish),
        4 => (any::<u16>(), any::<u8>()).prop_map(|(which, how)| Step::Answer { which, how }),
        4 => (0u32..10_000).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}

struct Night {
    world: World,
    ids: Vec<Uuid>,
    out: Vec<ProviderCall>,
    /// One that came by a push alone was read while it was out: that is its receipt.
    is_read: bool,
}

fn wishes(which: u8) -> Value {
    let quiet = json!({"from": "22:00", "to": "07:00", "zone": "UTC", "channels": ["push"]});
    let digest = json!({"news": {"every": "day", "at": "08:00", "zone": "UTC"}, "*": {"every": "hour"}});
    match which % 4 {
        0 => json!({ "quiet_hours": quiet }),
        1 => json!({ "quiet_hours": quiet, "digest": digest }),
        2 => json!({ "quiet_hours": quiet, "digest": digest, "unsubscribed": ["news"] }),
        _ => json!({ "digest": digest }),
    }
}

impl Night {
    fn new() -> Night {
        let ways = Ways::of([Way::Fcm, Way::Email]);
        let config =
            OwnerConfig { partitions: PARTITIONS, ways, push_per_user_hour: 1_000, ..OwnerConfig::default() };
        let mut world = World::with(config);
        let push = json!([{"kind": "fcm", "token": "a"}]);
        world.contacts(USER, &json!({"email": "ann@example.org", "push": push}));
        let mut night = Night { world, ids: Vec::new(), out: Vec::new(), is_read: false };
        night.wish(1);
        night
    }

    fn wish(&mut self, which: u8) {
        let preferences = Preferences::asked(wishes(which).to_string().as_bytes()).expect("preferences");
        self.world.command(Command::PutPreferences { user: USER.to_owned(), preferences });
    }

    fn apply(&mut self, step: &Step) {
        let world = &mut self.world;
        match step {
            Step::Send { channel, category, ttl } => {
                let channel = if channel % 2 == 0 { "push" } else { "email" };
                let ttl = [Value::Null, json!(3_600), json!(60)][usize::from(ttl % 8).min(2)].clone();
                let channels =
                    if category / 3 % 2 == 0 { json!(["inapp", channel]) } else { json!([channel]) };
                let category = ["news", "offers", "other"][usize::from(category % 3)];
                let request = json!({"to": {"user": USER}, "title": "t", "category": category,
                    "channels": channels, "ttl_s": ttl});
                self.ids.push(world.send(request));
            }
            Step::Read(which) if !self.ids.is_empty() => {
                let id = self.ids[usize::from(*which) % self.ids.len()];
                self.is_read = true;
                world.command(Command::MarkRead { user: USER.to_owned(), ids: vec![id] });
            }
            Step::Cancel(which) if !self.ids.is_empty() => {
                let id = self.ids[usize::from(*which) % self.ids.len()];
                world.command(Command::Cancel { id, by: None, promised: None, of: None });
            }
            Step::Answer { which, how } if !self.out.is_empty() => {
                let call = self.out.swap_remove(usize::from(*which) % self.out.len());
                self.answer(&call, *how);
            }
            Step::Wish(which) => self.wish(*which),
            Step::Pass(seconds) => world.pass(Duration::from_secs(u64::from(*seconds))),
            // Who was to answer is gone; what was out is taken up again.
            Step::Crash => {
                self.out.clear();
                world.crash();
                world.pass(Duration::ZERO);
            }
            _ => {}
        }
        self.collect();
    }

    fn answer(&mut self, call: &ProviderCall, how: u8) {
        let refused = |class| {
            let (code, detail) = ("no".to_owned(), String::new());
            Said::Answer(Answer::Refused(Refusal { class, code, detail, retry_after: None }))
        };
        let said = match how % 6 {
            0 | 1 => Said::Answer(Answer::Taken { reference: None }),
            2 => refused(Class::Fault),
            3 => refused(Class::Content),
            4 => Said::Answer(Answer::Unknown { why: "?".to_owned() }),
            _ => Said::Withdrawn,
        };
        // Nobody is taken back whom nobody asked back.
        if said == Said::Withdrawn && !self.world.seen.withdrawn.contains(&call.delivery) {
            return self.out.push(call.clone());
        }
        let (channel, before) = (call.delivery.channel, self.world.balanced());
        let answered =
            call.addresses.iter().map(|to| Answered { to: to.clone(), said: said.clone() }).collect();
        let DeliveryKey { id, user, .. } = &call.delivery;
        self.world.outcome(*id, channel, user, Outcome::Letters(answered));
        let carried = call.digest.as_ref().map_or(1, |digest| digest.count) as u64;
        if how % 6 < 2 {
            let more =
                self.world.balanced().channel(channel).handed_over - before.channel(channel).handed_over;
            assert!(more == carried || (self.is_read && more < carried), "{more} of {call:?}");
        }
    }

    /// What is new goes out only when it may.
    fn collect(&mut self) {
        let new = std::mem::take(&mut self.world.seen.calls);
        self.out.retain(|old| new.iter().all(|call| call.delivery != old.delivery));
        self.out.extend(new);
        self.is_one_letter_a_place();
        self.world.balanced();
    }

    /// What goes out together is together: no notification is in two letters that are out.
    fn is_one_letter_a_place(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for call in &self.out {
            let ids = match &call.digest {
                Some(digest) => digest.lines.iter().map(|line| line.id).collect(),
                None => vec![call.delivery.id],
            };
            for id in ids {
                assert!(seen.insert((call.delivery.channel, id)), "twice: {id}");
            }
        }
    }

    fn end(mut self) {
        for _ in 0..200 {
            for call in std::mem::take(&mut self.out) {
                self.answer(&call, 0);
            }
            self.world.pass(Duration::from_secs(DAY_S / 24));
            self.collect();
        }
        let open: Vec<_> = self.ids.iter().map(|id| self.world.timeline(*id)).collect();
        for story in open {
            for one in &story.deliveries {
                assert!(one.channel == Channel::Inapp || one.state != "open", "{one:?}");
            }
        }
        for (space, prefix) in
            [(Space::Digests, "h"), (Space::Digests, "t"), (Space::Calls, ""), (Space::Letters, "")]
        {
            let rows = self.world.store.scan(space, &Range::prefix(prefix.as_bytes()), Order::Forward, 10);
            assert!(rows.expect("memory").is_empty(), "{} {prefix}", space.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_notification_ends_once_however_the_night_goes(steps in steps()) {
        let mut night = Night::new();
        for step in &steps {
            night.apply(step);
        }
        night.end();
    }
}

//! Every way an escalation can go: which channels at once, which in turn, what each provider answers, whether the user is there
//! and when the user acknowledges. Whatever it is, what must hold is checked after each step.

use std::time::Duration;

use router::owner::{Answered, DeliveryKey, Held, Outcome, OwnerConfig, ProviderCall, Said};
use router::provider::letter::{Answer, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{Order, Range, Space, Store};
use serde_json::json;
use uuid::Uuid;

use crate::world::{PARTITIONS, World, whats};

/// How long each rung is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a provider does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Takes,
    Refuses,
    /// It is thought to be broken, and is not asked.
    IsBroken,
    /// It waits in the lane until it is withdrawn.
    Waits,
    /// It may be asked again in ten minutes.
    IsBusy,
    MayHaveIt,
}

const DOES: [Does; 6] =
    [Does::Takes, Does::Refuses, Does::IsBroken, Does::Waits, Does::IsBusy, Does::MayHaveIt];

/// When the user acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    Never,
    AtOnce,
    AfterTheFirstRung,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    at_once: &'static [Channel],
    in_turn: &'static [Channel],
    is_there: bool,
    acks: Acks,
    does: Does,
    /// The last channel's provider always takes it.
    last_takes: bool,
}

struct Play {
    case: Case,
    world: World,
    id: Uuid,
    /// Calls that wait in a lane.
    lane: Vec<ProviderCall>,
    /// Channels in the order in which they began, with when.
    began: Vec<(Channel, u64)>,
    is_acked: bool,
    calls_after_ack: usize,
}

impl Play {
    fn new(case: Case) -> Play {
        let ways = Ways::of([Way::Fcm, Way::Email, Way::Sms]);
        let config = OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() };
        let mut world = World::with(config);
        let there: &[&str] = if case.is_there { &["ann"] } else { &[] };
        world.link(1, there);
        let body = json!({"email": "ann@example.org", "phone": "+4930123456",
            "push": [{"kind": "fcm", "token": "a"}]});
        world.contacts("ann", &body);
        let names = |channels: &[Channel]| channels.iter().map(|channel| channel.name()).collect::<Vec<_>>();
        let id = world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": names(case.at_once),
            "fallback": names(case.in_turn), "ack_within_s": PATIENCE.as_secs()}));
        let (lane, began) = (Vec::new(), Vec::new());
        Play { case, world, id, lane, began, is_acked: false, calls_after_ack: 0 }
    }

    /// Providers answer, and what is withdrawn comes back, until nothing moves.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.world.pass(Duration::ZERO);
            self.note_began();
            let withdrawn = std::mem::take(&mut self.world.seen.withdrawn);
            for delivery in &withdrawn {
                if let Some(i) = self.lane.iter().position(|call| call.delivery == *delivery) {
                    let call = self.lane.remove(i);
                    self.answer(&call, &Said::Withdrawn);
                }
            }
            let calls = std::mem::take(&mut self.world.seen.calls);
            if calls.is_empty() && withdrawn.is_empty() {
                return;
            }
            for call in calls {
                self.calls_after_ack += usize::from(self.is_acked);
                self.take(call);
            }
        }
        panic!("{:?} never settles", self.case);
    }

    fn take(&mut self, call: ProviderCall) {
        let refused = |class, retry_after| {
            let (code, detail) = ("NO".to_owned(), String::new());
            Said::Answer(Answer::Refused(Refusal { class, code, detail, retry_after }))
        };
        let is_last = self.case.in_turn.last() == Some(&call.delivery.channel);
        let does = if is_last && self.case.last_takes { Does::Takes } else { self.case.does };
        let said = match does {
            Does::Takes => Said::Answer(Answer::Taken { reference: None }),
            Does::Refuses => refused(Class::Recipient, None),
            Does::IsBroken => Said::Held { after: Duration::from_secs(600), why: Held::Broken },
            Does::Waits => return self.lane.push(call),
            Does::IsBusy => refused(Class::Quota, Some(Duration::from_secs(600))),
            Does::MayHaveIt => Said::Answer(Answer::Unknown { why: String::new() }),
        };
        self.answer(&call, &said);
    }

    fn answer(&mut self, call: &ProviderCall, said: &Said) {
        let answered = call.addresses.iter().map(|to| Answered { to: to.clone(), said: said.clone() });
        let outcome = Outcome::Letters(answered.collect());
        let DeliveryKey { id, channel, user } = call.delivery.clone();
        self.world.outcome(id, channel, &user, outcome);
    }

    fn note_began(&mut self) {
        for delivery in self.world.timeline(self.id).deliveries {
            if self.began.iter().all(|(known, _)| *known != delivery.channel) {
                self.began.push((delivery.channel, self.world.mono));
            }
        }
    }

    fn acknowledge(&mut self) {
        self.world.says(router::owner::LinkId(1), 1, "ann", &json!({"type": "ack", "ids": [self.id]}));
        self.is_acked = true;
    }

    fn run(&mut self) {
        self.settle();
        if self.case.acks == Acks::AtOnce {
            self.acknowledge();
        }
        for step in 0..=self.case.in_turn.len() + 1 {
            self.world.pass(PATIENCE);
            self.settle();
            if step == 0 && self.case.acks == Acks::AfterTheFirstRung {
                self.acknowledge();
                self.settle();
            }
        }
        self.world.pass(Duration::from_secs(3 * 3_600));
        self.settle();
    }

    fn check(&mut self) {
        let Play { case, world, began, .. } = self;
        let rungs: Vec<_> = began.iter().filter(|(channel, _)| case.in_turn.contains(channel)).collect();
        let order: Vec<_> = rungs.iter().map(|(channel, _)| *channel).collect();
        assert!(case.in_turn.starts_with(&order), "{case:?}: in turn, each once: {order:?}");
        let story = world.timeline(self.id).deliveries;
        if case.acks == Acks::Never {
            assert_eq!(order, case.in_turn, "{case:?}: nobody acknowledged, so all are tried");
        } else {
            assert_eq!(self.calls_after_ack, 0, "{case:?}: nothing goes out behind an acknowledgement");
            assert!(self.lane.is_empty(), "{case:?}: what waits is taken back");
        }
        let first = began[0].1;
        for (i, (channel, at)) in rungs.iter().enumerate() {
            let waited = Duration::from_micros(at - if i == 0 { first } else { rungs[i - 1].1 });
            let before = &began[..began.iter().position(|(known, _)| known == channel).expect("it began")];
            // The one before has failed for certain, or was waited for.
            let hopeless = before.iter().all(|(before, _)| {
                (*before == Channel::Inapp && (!case.is_there || i > 0))
                    || (*before != Channel::Inapp && matches!(case.does, Does::Refuses | Does::IsBroken))
            });
            if hopeless && !(before.len() > 1 && before[0].0 == Channel::Inapp && i == 0) {
                assert!(
                    waited < Duration::from_secs(1),
                    "{case:?}: {channel:?} at once, not after {waited:?}"
                );
            } else if !hopeless {
                assert!(waited >= PATIENCE, "{case:?}: {channel:?} after {waited:?}");
            }
        }
        for delivery in &story {
            let is_open = &*delivery.state == "open";
            let waits = matches!(case.does, Does::Waits | Does::IsBusy | Does::IsBroken);
            let may_be_open = case.acks == Acks::Never && waits;
            assert!(!is_open || may_be_open, "{case:?}: {:?} {:?}", delivery.channel, whats(delivery));
            let is_needless = delivery.reason.as_deref() == Some("acknowledged");
            assert!(!is_needless || case.acks != Acks::Never, "{case:?}: {delivery:?}");
        }
        if case.acks != Acks::Never {
            for space in [Space::Calls, Space::Due, Space::Letters] {
                let rows = world.store.scan(space, &Range::all(), Order::Forward, 9).expect("memory");
                assert!(rows.is_empty(), "{case:?}: {} holds {}", space.name(), rows.len());
            }
        }
        world.balanced();
    }
}

#[test]
fn every_escalation_keeps_to_its_rules() {
    use Channel::{Email, Inapp, Push, Sms};
    let at_once: [&[Channel]; 5] = [&[Inapp], &[Push], &[Inapp, Push], &[Push, Sms], &[Inapp, Push, Sms]];
    let in_turn: [&[Channel]; 6] = [&[], &[Email], &[Sms], &[Sms, Email], &[Email, Sms], &[Push, Sms, Email]];
    let mut played = 0;
    for at_once in at_once {
        for in_turn in in_turn.iter().filter(|turns| turns.iter().all(|turn| !at_once.contains(turn))) {
            for does in DOES {
                for acks in [Acks::Never, Acks::AtOnce, Acks::AfterTheFirstRung] {
                    for (is_there, last_takes) in [(true, true), (true, false), (false, true), (false, false)]
                    {
                        let case = Case { at_once, in_turn, is_there, acks, does, last_takes };
                        let mut play = Play::new(case);
                        play.run();
                        play.check();
                        played += 1;
                    }
                }
            }
        }
    }
    assert!(played > 1_000, "{played}");
}

#[test]
fn a_call_that_a_kill_left_out_is_not_made_again_once_the_user_has_acted() {
    let case = Case {
        at_once: &[Channel::Inapp, Channel::Push],
        in_turn: &[],
        is_there: true,
        acks: Acks::AtOnce,
        does: Does::Waits,
        last_takes: false,
    };
    let mut play = Play::new(case);
    play.world.seen.calls.clear();
    play.acknowledge();
    play.world.crash();
    play.world.pass(Duration::ZERO);
    assert!(play.world.seen.calls.is_empty(), "it may have gone out, and nobody needs it");
    assert_eq!(play.world.state(play.id, Channel::Push), "unknown");
    play.world.balanced();
}

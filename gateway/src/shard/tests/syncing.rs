//! What a page of a sync leaves out because the socket was sent it meanwhile, and what it must never leave out.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::conversing::{page, reply};
use super::*;

#[test]
fn nothing_comes_twice_while_a_sync_is_under_way() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.deliver("ada", 1);
    house.say(ada, r#"{"type":"sync"}"#);
    house.deliver("ada", 2);
    house.texts(ada);
    reply(&mut house, ada, page(&[1, 2, 3], true));
    let first = house.texts(ada);
    assert!(first[0].contains("\"n1\"") && !first[0].contains("\"n2\"") && first[0].contains("\"n3\""));
    house.say(ada, r#"{"type":"sync","cursor":"c"}"#);
    house.deliver("ada", 4);
    house.texts(ada);
    reply(&mut house, ada, page(&[4, 5], false));
    let second = house.texts(ada);
    assert!(
        !second[0].contains("\"n4\"")
            && second[0].contains("\"n5\"")
            && second[0].contains("\"has_more\":false")
    );
    // The sync is over: what comes now is not remembered, and pages are passed on as they are.
    house.deliver("ada", 6);
    house.texts(ada);
    reply(&mut house, ada, page(&[6], false));
    assert!(house.texts(ada)[0].contains("\"n6\""));
}

const BAD_CURSOR: &[u8] = br#"{"type":"error","code":"bad_cursor","message":"","retry_after_ms":null}"#;

#[test]
fn a_refused_sync_takes_nothing_from_the_next_one() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.say(ada, r#"{"type":"sync","cursor":"zzz"}"#);
    reply(&mut house, ada, bytes::Bytes::from_static(BAD_CURSOR));
    (1..=3).for_each(|n| house.deliver("ada", n));
    house.texts(ada);
    house.say(ada, r#"{"type":"sync"}"#);
    reply(&mut house, ada, page(&[1, 2, 3], false));
    assert_eq!(shown(&house.texts(ada)), [1, 2, 3]);
}

#[test]
fn a_sync_that_no_router_took_takes_nothing_from_the_next_one() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.shard.handle_link_down(0, house.now);
    house.say(ada, r#"{"type":"sync"}"#);
    house.pass(limits::LINK_PENDING_WAIT + Duration::from_millis(100));
    house.link_up();
    assert!(house.texts(ada).iter().any(|text| text.contains("\"busy\"")));
    (1..=3).for_each(|n| house.deliver("ada", n));
    house.say(ada, r#"{"type":"sync"}"#);
    house.texts(ada);
    reply(&mut house, ada, page(&[1, 2, 3], false));
    assert_eq!(shown(&house.texts(ada)), [1, 2, 3]);
}

#[test]
fn a_page_that_is_asked_for_again_belongs_to_the_same_sync() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.say(ada, r#"{"type":"sync"}"#);
    house.deliver("ada", 7);
    reply(&mut house, ada, page(&[1], true));
    // Its reply dies with a link; the client asks again.
    house.say(ada, r#"{"type":"sync","cursor":"c"}"#);
    house.deliver("ada", 8);
    house.say(ada, r#"{"type":"sync","cursor":"c"}"#);
    house.texts(ada);
    reply(&mut house, ada, page(&[2, 7, 8], false));
    assert_eq!(shown(&house.texts(ada)), [2]);
}

#[test]
fn an_abandoned_sync_is_forgotten() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.say(ada, r#"{"type":"sync"}"#);
    house.deliver("ada", 1);
    reply(&mut house, ada, page(&[], true));
    let remembers = |house: &mut House| {
        let connection = house.shard.sockets.slab.get(ada).expect("it is open");
        connection.if_passing().is_some_and(|passing| passing.syncing.is_some())
    };
    assert!(remembers(&mut house));
    house.pass(limits::SYNC_PAUSE_MAX + Duration::from_secs(1));
    house.receive(ada, &ws::pong_frame(b"", Some(MASK)));
    house.deliver("ada", 2);
    assert!(!remembers(&mut house));
    house.texts(ada);
    house.say(ada, r#"{"type":"sync","cursor":"c"}"#);
    reply(&mut house, ada, page(&[1, 2], false));
    assert_eq!(shown(&house.texts(ada)), [1, 2], "twice is allowed after so long, missing is not");
}

/// The notifications of the one page among these texts.
fn shown(texts: &[String]) -> Vec<u128> {
    let page = texts.iter().find(|text| text.contains("sync_batch")).expect("a page");
    let page: serde_json::Value = serde_json::from_str(page).expect("JSON");
    let list = page["notifications"].as_array().expect("a list");
    let id = |one: &serde_json::Value| Uuid::parse_str(one["id"].as_str()?).ok();
    list.iter().map(|one| id(one).expect("an id").as_u128()).collect()
}

/// One thing that happens on a socket whose client syncs as clients do, and as they should not.
#[derive(Debug, Clone)]
enum Step {
    /// One more notification, sent live.
    Live,
    /// A sync from the beginning.
    Begin,
    /// The next page, by the cursor of a page that came: of the last one, or of one so many before.
    Next {
        back: usize,
    },
    /// A cursor that was never given out.
    Foreign,
    /// The oldest request is answered: with the notifications whose bit is set, and maybe more to come.
    Page {
        which: u16,
        has_more: bool,
    },
    /// The oldest request is refused.
    Error,
    /// The oldest request's reply is lost.
    Lost,
    Pass {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Live),
        2 => Just(Step::Begin),
        3 => (0_usize..3).prop_map(|back| Step::Next { back }),
        1 => Just(Step::Foreign),
        5 => (any::<u16>(), any::<bool>()).prop_map(|(which, has_more)| Step::Page { which, has_more }),
        1 => Just(Step::Error),
        1 => Just(Step::Lost),
        1 => (0_u64..40).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What a socket's client knows of its own syncs.
#[derive(Default)]
struct Model {
    live: u128,
    /// By request that was not answered: where its sync began.
    asked: VecDeque<Beginning>,
    /// By page that came: its cursor, and where its sync began.
    pages: Vec<(String, Beginning)>,
    /// The sync under way. It is orderly while each page is asked for once the one before has come, and soon:
    /// then nothing comes twice.
    current: Beginning,
    is_orderly: bool,
    paused_s: u64,
}

/// Where a sync began: its number, and how many notifications had come live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Beginning {
    sync: u32,
    live: u128,
}

impl Model {
    fn begin(&mut self, house: &mut House, ada: Key, cursor: Option<&str>) {
        self.current = Beginning { sync: self.current.sync + 1, live: self.live };
        self.is_orderly = true;
        self.ask(house, ada, cursor, self.current);
    }

    fn go_on(&mut self, house: &mut House, ada: Key, back: usize) {
        let Some(at) = self.pages.len().checked_sub(1 + back) else { return };
        let (cursor, began) = self.pages[at].clone();
        self.is_orderly &= back == 0 && began == self.current;
        self.ask(house, ada, Some(&cursor), began);
    }

    fn ask(&mut self, house: &mut House, ada: Key, cursor: Option<&str>, began: Beginning) {
        self.is_orderly &= self.asked.is_empty();
        self.paused_s = 0;
        self.asked.push_back(began);
        let cursor = cursor.map_or("null".to_owned(), |cursor| format!("{cursor:?}"));
        house.say(ada, &format!(r#"{{"type":"sync","cursor":{cursor}}}"#));
    }

    /// The router answers. Everything that did not come live since the sync began is on the page.
    fn answer(
        &mut self,
        house: &mut House,
        ada: Key,
        which: u16,
        has_more: bool,
    ) -> Result<(), TestCaseError> {
        let Some(began) = self.asked.pop_front() else { return Ok(()) };
        // Some that came live, some that will, and some that never do.
        let around = (1..=8).map(|n| (self.live + n).saturating_sub(6));
        let held: Vec<u128> = around.chain(1_001..=1_008).collect();
        let picked = held.iter().enumerate().filter(|(bit, n)| **n > 0 && which & (1 << bit) != 0);
        let on_page: BTreeSet<u128> = picked.map(|(_, n)| *n).collect();
        let cursor = format!("c{}", self.pages.len());
        let list: Vec<u128> = on_page.iter().copied().collect();
        let text = String::from_utf8(page(&list, has_more).to_vec()).expect("text");
        house.texts(ada);
        reply(house, ada, text.replace(r#""cursor":"c""#, &format!(r#""cursor":"{cursor}""#)).into());
        let shown: BTreeSet<u128> = shown(&house.texts(ada)).into_iter().collect();
        let came_live = began.live + 1..=self.live;
        let must: BTreeSet<u128> = on_page.iter().filter(|n| !came_live.contains(n)).copied().collect();
        prop_assert!(must.is_subset(&shown), "left out: {:?}", must.difference(&shown));
        prop_assert!(shown.is_subset(&on_page), "made up: {:?}", shown.difference(&on_page));
        if self.is_orderly {
            prop_assert_eq!(&shown, &must, "twice");
        }
        if has_more {
            self.pages.push((cursor, began));
        } else {
            self.current.sync += 1;
        }
        Ok(())
    }
}

proptest! {
    /// Whatever a client asks and however it is answered: a page leaves out only what came live since that very
    /// sync began. A client that asks in turn gets nothing twice.
    #[test]
    fn a_page_leaves_out_only_what_came_live_since_its_sync_began(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut house = House::with(|plan| plan.gateway.limits.messages_per_minute = 60_000);
        let ada = house.user("ada");
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Live => {
                    model.live += 1;
                    house.deliver("ada", model.live);
                }
                Step::Begin => model.begin(&mut house, ada, None),
                Step::Foreign => model.begin(&mut house, ada, Some("elsewhere")),
                Step::Next { back } => model.go_on(&mut house, ada, back),
                Step::Page { which, has_more } => model.answer(&mut house, ada, which, has_more)?,
                Step::Error => {
                    if model.asked.pop_front().is_some() {
                        reply(&mut house, ada, bytes::Bytes::from_static(BAD_CURSOR));
                    }
                }
                Step::Lost => drop(model.asked.pop_front()),
                Step::Pass { seconds } => {
                    model.paused_s += seconds;
                    model.is_orderly &= model.paused_s < limits::SYNC_PAUSE_MAX.as_secs();
                    house.receive(ada, &ws::pong_frame(b"", Some(MASK)));
                    house.pass(Duration::from_secs(seconds));
                }
            }
            prop_assert!(!house.closed.contains_key(&ada), "it stays open");
        }
    }
}

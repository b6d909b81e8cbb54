//! One story: a beginning in which everybody connects and subscribes, a middle in which services hand in and things go
//! wrong, and an end in which all is calm and every promise is checked.

use router::owner::Owner;
use router::record::Channel;
use router::store::Store;
use wire::time::Wall;

use crate::client::Client;
use crate::events::{Event, Events, Fault, MS, S};
use crate::links::Links;
use crate::model::{Model, Promise, TOPICS, draw_request};
use crate::router::RouterSim;
use crate::shards::Shards;

/// The parts of a story.
const MIDDLE_US: u64 = 6 * S;
const CALM_US: u64 = 50 * S;
const LAST_SYNC_US: u64 = 80 * S;
const END_US: u64 = 120 * S;

const SHARDS: usize = 2;
const USERS: usize = 4;
const DEVICES: usize = 2;
/// Events of a story that never comes to rest.
const EVENTS_MAX: u64 = 3_000_000;

/// What may go wrong in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    Links,
    Crashes,
    Power,
    All,
}

impl Faults {
    fn kinds(self) -> &'static [Fault] {
        match self {
            Faults::None => &[],
            Faults::Links => &[Fault::CutLink, Fault::StallLink, Fault::DropClient],
            Faults::Crashes => &[Fault::Crash, Fault::FailCommits],
            Faults::Power => &[Fault::PowerCut],
            Faults::All => &[
                Fault::CutLink,
                Fault::StallLink,
                Fault::DropClient,
                Fault::Crash,
                Fault::PowerCut,
                Fault::FailCommits,
            ],
        }
    }
}

/// What a story was.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) handed_in: usize,
    /// Notifications that came to a socket by themselves.
    pub(crate) live: usize,
    pub(crate) not_live: usize,
    pub(crate) twice_on_a_socket: u32,
    pub(crate) crashes: u32,
    pub(crate) faults: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    events: Events,
    router: RouterSim,
    shards: Shards,
    links: Links,
    clients: Vec<Client>,
    users: Vec<String>,
    model: Model,
    faults: Faults,
    crashes: u32,
    is_calm: bool,
    plants_loss: bool,
    last_sync_began: Wall,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> World {
        let mut events = Events::new(seed);
        let shards = Shards::new(SHARDS, &mut events);
        let users: Vec<String> = (0..USERS).map(|i| format!("user-{i}")).collect();
        let device = |i: usize| Client::new(&users[i % USERS], &format!("d{}", i / USERS), &TOPICS);
        let clients = (0..USERS * DEVICES).map(device).collect();
        World {
            events,
            router: RouterSim::new(),
            shards,
            links: Links::default(),
            clients,
            users,
            model: Model::default(),
            faults,
            crashes: 0,
            is_calm: false,
            plants_loss: false,
            last_sync_began: Wall::default(),
        }
    }

    /// Loses one record on purpose.
    pub(crate) fn with_planted_loss(mut self) -> World {
        self.plants_loss = true;
        self
    }

    pub(crate) fn run(mut self) -> Report {
        self.begin();
        self.until(MIDDLE_US);
        let mut faults: Vec<String> = self
            .clients
            .iter()
            .filter(|client| !client.subscribed)
            .map(|client| {
                format!("{} did not get its subscription in the calm of the beginning", client.user)
            })
            .collect();
        self.router.journal.planted_loss = self.plants_loss;
        if matches!(self.faults, Faults::Crashes | Faults::All) {
            self.router.crash_one_in = 400;
        }
        self.events.within(0, MS, Event::HandIn);
        self.plan_fault();
        self.until(CALM_US);
        self.calm();
        self.until(LAST_SYNC_US);
        self.last_sync_began = self.events.wall();
        self.clients.iter_mut().for_each(Client::begin_whole);
        self.until(END_US);
        faults.extend(self.check());
        self.report(faults)
    }

    fn begin(&mut self) {
        self.router.start(&mut self.links, &mut self.events);
        for shard in 0..self.shards.count() {
            self.events.within(0, 50 * MS, Event::Dial { shard });
        }
        for client in 0..self.clients.len() {
            self.events.within(0, S, Event::Client { client });
        }
        self.events.within(200 * MS, 250 * MS, Event::Persist);
    }

    fn calm(&mut self) {
        self.is_calm = true;
        self.router.crash_one_in = 0;
        self.router.store.fail_commits(0);
    }

    fn until(&mut self, until_us: u64) {
        while let Some(event) = self.events.next(until_us) {
            assert!(self.events.happened < EVENTS_MAX, "the story does not come to rest");
            let was_up = self.router.is_up();
            self.happen(event);
            self.crashes += u32::from(was_up && !self.router.is_up());
        }
    }

    fn happen(&mut self, event: Event) {
        let World { events, router, shards, links, .. } = self;
        match event {
            Event::HandIn => self.hand_in(),
            Event::Read => router.read(links, events),
            Event::RouterTimer => router.timer(links, events),
            Event::Persist => {
                router.persist();
                events.within(200 * MS, 250 * MS, Event::Persist);
            }
            Event::ProviderAnswers { run, delivery, outcome } => {
                router.answer(run, delivery, outcome, links, events);
            }
            Event::Dial { shard } => self.dial(shard),
            Event::ToRouter { link, frame } => router.frame(link, frame, links, events),
            Event::ToShard { link, frame } => {
                let Some(of) = links.all.get(&link).filter(|of| !of.is_cut).map(|of| of.shard) else {
                    return;
                };
                shards.input(of, links, events, |shard, now| shard.handle_link_frame(0, frame, now));
            }
            Event::RouterLoses { link } => router.lose_link(link, links, events),
            Event::ShardLoses { link } => {
                let Some(of) = links.all.get(&link).map(|of| of.shard) else { return };
                shards.input(of, links, events, |shard, now| shard.handle_link_down(0, now));
                Shards::redial(of, events);
            }
            Event::ShardTimer { shard } => shards.timer(shard, links, events),
            Event::ToServer { socket, bytes } => shards.received(socket, &bytes, links, events),
            Event::ToClient { socket, bytes } => self.bytes_for_client(socket, &bytes),
            Event::Sent { socket } => shards.sent(socket, links, events),
            Event::ServerEnds { socket } => shards.end(socket, links, events),
            Event::ServerClosed { socket } => shards.closed(socket, links, events),
            Event::ClientEnds { socket } => {
                self.clients.iter_mut().filter(|client| client.socket == Some(socket)).for_each(Client::lost);
            }
            Event::Client { client } => self.client_acts(client),
            Event::Fault(fault) => self.go_wrong(fault),
        }
    }

    fn hand_in(&mut self) {
        if self.is_calm {
            return;
        }
        // While the router is down nobody answers 202.
        if self.router.is_up() {
            let request = draw_request(&self.users, &mut self.events);
            let (id, accepted_at) = (self.events.uuid(), self.events.wall());
            self.model.promises.push(Promise { id, request: request.clone(), accepted_at });
            self.router.journal.append(id, accepted_at, request);
            self.events.within(10, 2 * MS, Event::Read);
        }
        self.events.within(5 * MS, 300 * MS, Event::HandIn);
    }

    fn dial(&mut self, shard: usize) {
        if !self.router.is_up() {
            Shards::redial(shard, &mut self.events);
            return;
        }
        if self.links.of_shard(shard).is_none() {
            self.links.dial(shard);
            self.shards
                .input(shard, &mut self.links, &mut self.events, |shard, now| shard.handle_link_up(0, now));
        }
    }

    fn bytes_for_client(&mut self, socket: u64, bytes: &bytes::Bytes) {
        let Some(client) = self.clients.iter_mut().find(|client| client.socket == Some(socket)) else {
            return;
        };
        for answer in client.received(bytes, &mut self.events) {
            self.shards.send_to_server(socket, answer, &mut self.events);
        }
    }

    fn client_acts(&mut self, client: usize) {
        match self.clients[client].socket {
            None => {
                let shard = self.events.between(0, SHARDS as u64 - 1) as usize;
                let socket = self.shards.accept(shard, &mut self.links, &mut self.events);
                let request = self.clients[client].connect(socket, &mut self.events);
                self.shards.send_to_server(socket, request, &mut self.events);
            }
            Some(socket) => {
                for said in self.clients[client].act(&mut self.events) {
                    self.shards.send_to_server(socket, said, &mut self.events);
                }
            }
        }
        self.events.within(300 * MS, 1_500 * MS, Event::Client { client });
    }

    fn plan_fault(&mut self) {
        let kinds = self.faults.kinds();
        if !kinds.is_empty() && !self.is_calm {
            let kind = kinds[self.events.between(0, kinds.len() as u64 - 1) as usize];
            self.events.within(200 * MS, 6 * S, Event::Fault(kind));
        }
    }

    fn go_wrong(&mut self, fault: Fault) {
        let World { events, router, shards, links, .. } = self;
        if fault == Fault::Restart {
            router.start(links, events);
            return;
        }
        if self.is_calm {
            return;
        }
        match fault {
            Fault::CutLink | Fault::StallLink => {
                let shard = events.between(0, SHARDS as u64 - 1) as usize;
                if let Some(link) = links.of_shard(shard) {
                    if fault == Fault::CutLink {
                        links.cut(link, events);
                    } else {
                        let wait = events.between(100 * MS, 9 * S);
                        links.stall(link, wait, events);
                    }
                }
            }
            Fault::Crash if router.is_up() => router.crash(links, events),
            Fault::PowerCut if router.is_up() => router.cut_power(links, events),
            Fault::FailCommits if router.is_up() => {
                let count = events.between(1, 5);
                router.store.fail_commits(count as u32);
            }
            Fault::DropClient => {
                let sockets: Vec<u64> = shards.sockets.keys().copied().collect();
                if !sockets.is_empty() {
                    let socket = sockets[events.between(0, sockets.len() as u64 - 1) as usize];
                    events.within(0, 2 * S, Event::ServerEnds { socket });
                    events.within(0, 100, Event::ClientEnds { socket });
                }
            }
            Fault::Crash | Fault::PowerCut | Fault::FailCommits | Fault::Restart => {}
        }
        self.plan_fault();
    }

    fn check(&mut self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.clients.iter().flat_map(|client| self.model.check(client, self.last_sync_began)).collect();
        if self.router.journal.lag() > 0 {
            faults.push(format!("{} records are not committed", self.router.journal.lag()));
        }
        let Some(owner) = &self.router.owner else { return vec!["the router is down at the end".to_owned()] };
        faults.extend(ledger_faults(owner, &self.model, self.events.wall()));
        // A provider is called once for each delivery, but for what a crash left in doubt; that is marked.
        let doubled = self.router.provided.iter().filter(|(_, provided)| provided.first > 1);
        if !matches!(self.faults, Faults::Power | Faults::All) {
            faults.extend(doubled.map(|(delivery, provided)| format!("{delivery}: {provided:?}")));
        }
        faults
    }

    fn report(self, faults: Vec<String>) -> Report {
        let live = |client: &Client| client.known.values().filter(|known| known.live).count();
        Report {
            trace: self.events.trace(),
            events: self.events.happened,
            handed_in: self.model.promises.len(),
            live: self.clients.iter().map(live).sum(),
            not_live: self.clients.iter().map(|client| self.model.not_live(client)).sum(),
            twice_on_a_socket: self.clients.iter().map(|client| client.twice).sum(),
            crashes: self.crashes,
            faults,
        }
    }
}

/// The equation: by its own word, by a recount of every row, and by what was promised outside.
fn ledger_faults<S: Store>(owner: &Owner<S>, model: &Model, now: Wall) -> Vec<String> {
    let view = owner.view();
    let told = view.reconcile(now, 0).expect("the store can be read");
    let (counters, recount) = (view.counters(), view.recount());
    let counted = counters.expect("the store can be read").deliveries();
    let recounted = recount.expect("the store can be read").deliveries();
    let mut faults = Vec::new();
    if !told.balanced
        || told.unaccounted != 0
        || told.missing != 0
        || told.total.accounted() != told.total.accepted
    {
        faults.push(format!("the equation does not hold: {told:?}"));
    }
    if counted != recounted {
        faults.push(format!("the counters say {counted:?}, the rows {recounted:?}"));
    }
    if told.total.open != 0 {
        faults.push(format!("{} deliveries are open after all deadlines", told.total.open));
    }
    for (channel, promised) in model.deliveries() {
        let accepted = counted.channel(channel).accepted;
        // Push and e-mail are only fallen back to in these stories: at most as often as was asked for.
        let right = match channel {
            Channel::Push | Channel::Email => accepted <= promised,
            _ => accepted == promised,
        };
        if !right {
            faults.push(format!("{channel:?}: {promised} deliveries were promised, {accepted} accepted"));
        }
    }
    faults
}

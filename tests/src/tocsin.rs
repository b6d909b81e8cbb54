//! A whole system under test: the programs in one shape or the other, running, with a folder of their own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::client::{Client, Connect, Refused};
use crate::deadline::{until, until_within};
use crate::paths;
use crate::ports;
use crate::process::{Plan, Process};
use crate::setup::{Setup, Shape};
use crate::sse::Sse;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Running programs. All are killed when this is dropped.
#[derive(Debug)]
pub struct Tocsin {
    pub setup: Setup,
    /// Standalone: both programs in one.
    pub gateway: Option<Process>,
    pub router: Option<Process>,
    /// What is said to every program at its start, behind what it needs.
    pub arguments: Vec<OsString>,
    folder: TempDir,
}

impl Setup {
    /// Starts it and waits until it is ready.
    pub fn start(self) -> Tocsin {
        let mut tocsin = self.prepare();
        tocsin.start_router();
        tocsin.start_gateway();
        tocsin
    }

    /// Writes the settings; nothing runs yet.
    ///
    /// # Panics
    /// When the disk cannot be written.
    pub fn prepare(self) -> Tocsin {
        let folder = paths::scratch("tocsin-");
        self.write(folder.path());
        Tocsin { setup: self, gateway: None, router: None, arguments: Vec::new(), folder }
    }
}

impl Tocsin {
    /// Other settings, in the files of the running programs. They read them when they are told to.
    pub fn rewrite(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.setup.write(self.folder.path());
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn plan(&self, program: &str) -> Plan {
        let folder = self.folder.path();
        let has_data = program == "router" || self.setup.shape == Shape::Standalone;
        let mut arguments = vec!["--config".into(), folder.join(format!("{program}.toml")).into()];
        if has_data {
            arguments.extend(["--data".into(), folder.join("data").into()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        Plan {
            program: paths::program(program),
            arguments,
            environment: self.setup.environment.clone(),
            folder: folder.to_path_buf(),
            log: folder.join(format!("{program}.log")),
        }
    }

    /// Starts the gateway (standalone: everything), without waiting.
    pub fn launch_gateway(&self) -> Process {
        Process::start("gateway", &self.plan("gateway"))
    }

    /// Starts the router, without waiting.
    pub fn launch_router(&self) -> Process {
        Process::start("router", &self.plan("router"))
    }

    /// Starts the gateway and waits for `/readyz`.
    pub fn start_gateway(&mut self) {
        let process = self.launch_gateway();
        self.gateway = Some(process);
        self.ready_gateway();
    }

    /// Starts the gateway of routers that run elsewhere, and waits until it takes connections.
    pub fn start_gateway_alone(&mut self) {
        let admin = self.gateway_admin();
        let process = self.gateway.insert(self.launch_gateway());
        wait_ready(&admin, process);
    }

    /// Another gateway of the same router, started. In two processes only.
    pub fn another_gateway(&self, node: &str) -> Tocsin {
        let mut setup = self.setup.clone().set("gateway.node", node);
        for key in ["gateway.listen", "gateway.admin"] {
            setup = setup.set(key, ports::free().to_string());
        }
        let mut other = setup.prepare();
        other.start_gateway();
        other
    }

    /// Changes the gateway's settings file and has it read again. What it changes shows a moment later.
    pub fn reload(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.setup.write(self.folder.path());
        self.gateway().signal("HUP");
    }

    /// In two processes: starts the router and waits for `/readyz`.
    pub fn start_router(&mut self) {
        if self.setup.shape == Shape::Split {
            let process = self.launch_router();
            self.router = Some(process);
            let admin = self.router_admin();
            wait_ready(&admin, self.router.as_mut().expect("it was started"));
        }
    }

    /// Waits until the gateway (and in standalone the router in it) takes connections.
    ///
    /// # Panics
    /// When it ends instead, or is not ready in time.
    pub fn ready_gateway(&mut self) {
        let (gateway, router) = (self.gateway_admin(), self.router_admin());
        let standalone = self.setup.shape == Shape::Standalone;
        let process = self.gateway.as_mut().expect("it was started");
        wait_ready(&gateway, process);
        if standalone {
            wait_ready(&router, process);
        }
    }

    /// The process that holds the clients.
    ///
    /// # Panics
    /// When it does not run.
    pub fn gateway(&mut self) -> &mut Process {
        self.gateway.as_mut().expect("the gateway runs")
    }

    /// The process that holds the journal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn keeper(&mut self) -> &mut Process {
        let kept = if self.setup.shape == Shape::Split { &mut self.router } else { &mut self.gateway };
        kept.as_mut().expect("it runs")
    }

    /// kill -9 on everything, and a new start over the same data.
    pub fn crash_and_restart(&mut self) {
        self.kill_9();
        self.start_router();
        self.start_gateway();
    }

    pub fn kill_9(&mut self) {
        for mut process in [self.gateway.take(), self.router.take()].into_iter().flatten() {
            process.kill_9();
        }
    }

    fn address(&self, key: &str) -> SocketAddr {
        self.setup.text(key).parse().expect("an address")
    }

    /// Where clients connect.
    pub fn clients(&self) -> SocketAddr {
        self.address("gateway.listen")
    }

    /// Where clients connect by TLS.
    pub fn tls(&self) -> SocketAddr {
        self.address("gateway.tls.listen")
    }

    /// The router's API, as the tests' own service.
    pub fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.setup.text("router.api")), &self.setup.service_key)
    }

    /// HTTP on the clients' port, as nobody in particular.
    pub fn door(&self) -> Api {
        Api::new(&format!("http://{}", self.clients()), "")
    }

    pub fn gateway_admin(&self) -> Api {
        Api::new(&format!("http://{}", self.setup.text("gateway.admin")), "")
    }

    pub fn router_admin(&self) -> Api {
        Api::new(&format!("http://{}", self.setup.text("router.admin")), "")
    }

    /// How this user proves who they are.
    pub fn as_user(&self, user: &str) -> Connect {
        if self.setup.tokens {
            Connect::default().bearer(&self.setup.token(user))
        } else {
            Connect::default().query("user", user)
        }
    }

    /// A live connection of a user.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn connect(&self, user: &str) -> Client {
        self.try_connect(user).unwrap_or_else(|refused| panic!("{user} was refused: {refused:?}"))
    }

    pub fn try_connect(&self, user: &str) -> Result<Client, Refused> {
        self.as_user(user).to(self.clients())
    }

    /// A connection of one of a user's devices.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn connect_device(&self, user: &str, device: &str) -> Client {
        let connect = self.as_user(user).device(device);
        connect.to(self.clients()).unwrap_or_else(|refused| panic!("{user} was refused: {refused:?}"))
    }

    /// A stream of a user's events.
    pub fn events(&self, user: &str, last_event_id: Option<&str>) -> Sse {
        let token = format!("Bearer {}", self.setup.token(user));
        let mut headers = Vec::new();
        let path = if self.setup.tokens {
            headers.push(("authorization", token.as_str()));
            "/v1/events".to_owned()
        } else {
            format!("/v1/events?user={}", crate::client::percent_encoded(user))
        };
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        Sse::open(self.clients(), &path, &headers)
    }

    /// A stream that the router knows of: what is handed in before it does, in the moment after the welcome, is in the
    /// inbox alone.
    #[track_caller]
    pub fn heard_events(&self, user: &str) -> Sse {
        let mut events = self.events(user, None);
        assert_eq!(events.status, 200);
        events.recv("welcome");
        until("the router sends to this stream", || {
            let probe = self.api().accepted(&json!({ "to": { "user": user }, "title": "probe" }));
            while let Some(event) = events.try_next(Duration::from_secs(5)) {
                if event.json()["id"] == probe.as_str() {
                    return Some(());
                }
            }
            None
        });
        events
    }

    /// One sample of a gateway's or router's metrics: the sum over the labels that contain `labels`.
    pub fn metric(admin: &Api, name: &str, labels: &str) -> f64 {
        let text = admin.get("/metrics").expect(200).text;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter(|line| {
            let series = line.rsplit_once(' ').map_or("", |(series, _)| series);
            let base = series.split('{').next().unwrap_or_default();
            base == name && series.contains(labels)
        });
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

pub(crate) fn wait_ready(admin: &Api, process: &mut Process) {
    until_within(START, &format!("{} is ready", admin.base()), || {
        if let Some(status) = process.ended() {
            panic!("ended instead of starting: {status}");
        }
        let answer = admin.request("GET", "/readyz", &[], None).ok()?;
        (answer.status == 200).then_some(())
    });
}

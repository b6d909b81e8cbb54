//! Several gateways and one router on this machine, each a process of its own: what a crash of one of them is tested on.

use std::net::SocketAddr;
use std::path::Path;

use crate::api::Api;
use crate::paths;
use crate::ports;
use crate::process::{Plan, Process};
use crate::setup::Setup;
use crate::tocsin::{Tocsin, wait_ready};

/// One gateway process.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub listen: SocketAddr,
    admin: SocketAddr,
    plan: Plan,
    /// `None`: it was killed and not started again.
    process: Option<Process>,
}

/// A router and its gateways. All are killed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The router, with its settings and its folder; it has no gateway of its own.
    pub router: Tocsin,
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// `settings`: of all gateways, one step from the defaults. Waits until everything is ready.
    pub fn start(gateways: usize, settings: impl Fn(Setup) -> Setup) -> Cluster {
        let base = settings(Setup::split());
        let mut router = base.clone().prepare();
        router.start_router();
        let nodes = (1..=gateways).map(|number| Node::start(&base, number, router.folder()));
        let nodes = nodes.collect();
        Cluster { router, nodes }
    }

    pub fn api(&self) -> Api {
        self.router.api()
    }

    /// The router's links to shards, as its metrics say.
    pub fn links(&self) -> u64 {
        Tocsin::metric(&self.router.router_admin(), "tocsin_router_links", "") as u64
    }
}

impl Node {
    fn start(base: &Setup, number: usize, folder: &Path) -> Node {
        let name = format!("n{number}");
        let (listen, admin) = (ports::free(), ports::free());
        let setup = base.clone().set("gateway.node", name.as_str());
        let setup = setup.set("gateway.listen", listen.to_string()).set("gateway.admin", admin.to_string());
        let folder = folder.join(&name);
        std::fs::create_dir(&folder).expect("the folder can be written");
        setup.write(&folder);
        let plan = Plan {
            program: paths::program("gateway"),
            arguments: vec!["--config".into(), folder.join("gateway.toml").into()],
            environment: Vec::new(),
            log: folder.join("gateway.log"),
            folder,
        };
        let mut node = Node { name, listen, admin, plan, process: None };
        node.restart();
        node
    }

    /// Starts it (again) and waits until it takes connections.
    pub fn restart(&mut self) {
        let mut process = Process::start(&self.name, &self.plan);
        wait_ready(&self.admin(), &mut process);
        self.process = Some(process);
    }

    /// # Panics
    /// When it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    pub fn kill_9(&mut self) {
        self.process().kill_9();
        self.process = None;
    }

    pub fn admin(&self) -> Api {
        Api::new(&format!("http://{}", self.admin), "")
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.listen)
    }

    /// Sockets that hold a place.
    pub fn connections(&self) -> u64 {
        Tocsin::metric(&self.admin(), "tocsin_gateway_connections", "") as u64
    }
}

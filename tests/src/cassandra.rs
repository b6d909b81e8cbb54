//! A real Cassandra, from the jars that `tests/run prepare` fetched: one node, or three on loopback addresses of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row};
use tempfile::TempDir;

use crate::deadline::until_within;
use crate::paths;
use crate::ports;
use crate::process::{Plan, Process};

/// How long a start may take on a busy machine; alone it takes a quarter of a minute.
const START: Duration = Duration::from_secs(150);

/// What Java 17 has to open for it, as the server's own `jvm17-server.options`.
const OPENED: [&str; 27] = [
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.server=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.transport.tcp=ALL-UNNAMED",
    "--add-exports=java.sql/java.sql=ALL-UNNAMED",
    "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
    "--add-exports=jdk.attach/sun.tools.attach=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.module=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.loader=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.reflect=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.math=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.module=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.util.jar=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.ref=ALL-UNNAMED",
];

/// The superuser that every new Cassandra has, and its password.
pub const LOGIN: (&str, &str) = ("cassandra", "cassandra");

/// One node.
#[derive(Debug)]
pub struct Node {
    /// `address:port` of its CQL.
    pub cql: String,
    pub process: Process,
    folder: TempDir,
}

/// Nodes that know each other.
#[derive(Debug)]
pub struct Cassandra {
    pub nodes: Vec<Node>,
}

impl Cassandra {
    /// One node that asks for a user and a password: `cassandra`, `cassandra`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Cassandra {
        Cassandra::start_nodes(1)
    }

    /// So many nodes, on 127.0.0.1 and the addresses behind it. Several let everybody in.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start_nodes(count: u8) -> Cassandra {
        let (cql, storage) = (ports::free().port(), ports::free().port());
        let mut nodes: Vec<Node> = Vec::new();
        for number in 1..=count {
            let address = format!("127.0.0.{number}");
            let folder = paths::scratch("cassandra-");
            std::fs::write(
                folder.path().join("cassandra.yaml"),
                settings(&address, (cql, storage), count == 1, folder.path()),
            )
            .expect("a file");
            let process = launch(folder.path());
            let mut node = Node { cql: format!("{address}:{cql}"), process, folder };
            node.answers();
            nodes.push(node);
        }
        Cassandra { nodes }
    }

    /// Its superuser, by CQL.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn cql(&self) -> Cql {
        Cql::connect(&self.contacts())
    }

    /// For `[cassandra] nodes`.
    pub fn contacts(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.cql.clone()).collect()
    }
}

impl Node {
    /// The same node after its end, with what it had on its disk.
    pub fn start_again(&mut self) {
        self.process = launch(self.folder.path());
        self.answers();
    }

    fn answers(&mut self) {
        let address: std::net::SocketAddr = self.cql.parse().expect("an address");
        let process = &mut self.process;
        until_within(START, "Cassandra answers", || {
            if let Some(status) = process.ended() {
                panic!("Cassandra ended instead of starting: {status}");
            }
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok().map(drop)
        });
    }
}

/// What the tables hold, asked past the system under test.
#[derive(Debug)]
pub struct Cql {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

impl Cql {
    fn connect(nodes: &[String]) -> Cql {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let session = until_within(START, "its superuser is let in", || {
            let builder = SessionBuilder::new().known_nodes(nodes).user(LOGIN.0, LOGIN.1);
            runtime.block_on(builder.build()).ok()
        });
        Cql { runtime, session }
    }

    /// # Panics
    /// When it is refused.
    pub fn run(&self, text: &str) {
        self.ask(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// Rows of an answer, each column as it prints.
    ///
    /// # Panics
    /// When it is refused.
    pub fn rows(&self, text: &str) -> Vec<Vec<Option<CqlValue>>> {
        let answer = self.ask(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let answer = answer.into_rows_result().expect("rows");
        let rows = answer.rows::<Row>().expect("rows of anything");
        rows.map(|row| row.expect("a row").columns).collect()
    }

    /// The texts of the first column.
    pub fn texts(&self, text: &str) -> Vec<String> {
        let first = |row: Vec<Option<CqlValue>>| row.into_iter().next().flatten();
        let shown = |value: CqlValue| match value {
            CqlValue::Text(text) => text,
            CqlValue::Uuid(id) => id.to_string(),
            other => format!("{other:?}"),
        };
        self.rows(text).into_iter().filter_map(first).map(shown).collect()
    }

    fn ask(&self, text: &str) -> Result<QueryResult, String> {
        let answer = self.runtime.block_on(self.session.query_unpaged(text, ()));
        answer.map_err(|error| error.to_string())
    }
}

fn launch(folder: &Path) -> Process {
    let jars = paths::prepared("servers/cassandra/libs").display().to_string();
    let here = folder.display();
    let logs = paths::root().join("tests/servers/cassandra/logback.xml");
    let mut arguments: Vec<String> = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC"].map(str::to_owned).to_vec();
    arguments.extend(OPENED.map(str::to_owned));
    arguments.extend([
        "-Djdk.attach.allowAttachSelf=true".to_owned(),
        format!("-Dcassandra.config=file://{here}/cassandra.yaml"),
        format!("-Dcassandra.storagedir={here}"),
        format!("-Dlogback.configurationFile={}", logs.display()),
        "-Dcassandra-foreground=yes".to_owned(),
        "-Dcassandra.ring_delay_ms=100".to_owned(),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
        "-Dcassandra.superuser_setup_delay_ms=0".to_owned(),
        "-cp".to_owned(),
        format!("{jars}/*"),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    let plan = Plan {
        program: PathBuf::from("java"),
        arguments: arguments.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
        folder: folder.to_path_buf(),
        log: folder.join("cassandra.log"),
    };
    Process::start("cassandra", &plan)
}

fn settings(address: &str, (cql, storage): (u16, u16), asks: bool, folder: &Path) -> String {
    let here = folder.display();
    let authenticator = if asks { "PasswordAuthenticator" } else { "AllowAllAuthenticator" };
    format!(
        "cluster_name: tests
num_tokens: 1
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
authenticator: {authenticator}
authorizer: AllowAllAuthorizer
commitlog_sync: periodic
commitlog_sync_period: 1000ms
data_file_directories: ['{here}/data']
commitlog_directory: {here}/commitlog
saved_caches_directory: {here}/saved_caches
hints_directory: {here}/hints
cdc_raw_directory: {here}/cdc_raw
listen_address: {address}
rpc_address: {address}
native_transport_port: {cql}
storage_port: {storage}
endpoint_snitch: SimpleSnitch
memtable_heap_space: 64MiB
file_cache_size: 32MiB
key_cache_size: 4MiB
concurrent_reads: 8
concurrent_writes: 8
commitlog_total_space: 256MiB
commitlog_segment_size: 16MiB
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: 127.0.0.1
"
    )
}

//! A real Kafka of one node or of several, from the jars that `tests/run prepare` fetched, and kcat to speak to it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use tempfile::TempDir;

use crate::deadline::until_within;
use crate::paths;
use crate::ports;
use crate::process::{self, Plan, Process};

/// How long a start may take on a busy machine; alone it takes three seconds.
const START: Duration = Duration::from_secs(60);
/// How long one of Kafka's own tools may take: a Java machine starts each time.
const TOOL: Duration = Duration::from_secs(60);

const SETTINGS: &str = "server.properties";

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    pub broker: SocketAddr,
    pub process: Process,
    folder: TempDir,
}

fn classpath() -> String {
    format!("{}/*", paths::prepared("servers/kafka/libs").display())
}

impl Kafka {
    /// # Panics
    /// When it does not start.
    pub fn start() -> Kafka {
        Kafka::start_with(&[])
    }

    /// With settings of the broker's own.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(more: &[(&str, &str)]) -> Kafka {
        Kafka::start_nodes(1, more).remove(0)
    }

    /// A cluster of so many nodes, each a broker and a controller. With three, each record is on all of them and two have
    /// to be there for one to be taken.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start_nodes(count: usize, more: &[(&str, &str)]) -> Vec<Kafka> {
        let addresses: Vec<_> = (0..count).map(|_| (ports::free(), ports::free())).collect();
        let id = uuid::Uuid::from_u128(1 << 100 | u128::from(addresses[0].0.port()));
        let id = BASE64URL_NOPAD.encode(id.as_bytes());
        let nodes = (0..count).map(|node| {
            let folder = paths::scratch("kafka-");
            let properties = folder.path().join(SETTINGS);
            let text = settings(&addresses, node, folder.path(), more);
            std::fs::write(&properties, text).expect("a file");
            let file = properties.display().to_string();
            tool("kafka.tools.StorageTool", &["format", "-t", &id, "-c", &file]);
            let process = launch(folder.path());
            Kafka { broker: addresses[node].0, process, folder }
        });
        let nodes: Vec<Kafka> = nodes.collect();
        nodes.iter().for_each(Kafka::answers);
        nodes
    }

    /// The same broker after its end, with what it had on its disk.
    pub fn start_again(&mut self) {
        self.process = launch(self.folder.path());
        self.answers();
    }

    fn answers(&self) {
        until_within(START, "Kafka answers", || self.try_kcat(&["-L", "-m", "2"], None));
    }

    /// kcat against this broker; `None` when it fails.
    pub fn try_kcat(&self, arguments: &[&str], input: Option<&str>) -> Option<String> {
        let mut command = Command::new("kcat");
        command.args(["-b", &self.broker.to_string(), "-q"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().expect("kcat is there: run `tests/run prepare`");
        if let Some(input) = input {
            let mut stdin = child.stdin.take().expect("it was piped");
            // A kcat that cannot reach the broker closes its end; its status tells.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("kcat ends");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// # Panics
    /// When kcat fails.
    #[track_caller]
    pub fn kcat(&self, arguments: &[&str], input: Option<&str>) -> String {
        self.try_kcat(arguments, input).unwrap_or_else(|| panic!("kcat {arguments:?} failed"))
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        let (broker, partitions) = (self.broker.to_string(), partitions.to_string());
        let arguments =
            ["--bootstrap-server", &broker, "--create", "--topic", topic, "--partitions", &partitions];
        tool("org.apache.kafka.tools.TopicCommand", &arguments);
    }

    /// One record a line, with this key.
    #[track_caller]
    pub fn produce(&self, topic: &str, key: Option<&str>, lines: &str) {
        let mut arguments = vec!["-P", "-t", topic];
        if let Some(key) = key {
            arguments.extend(["-k", key]);
        }
        self.kcat(&arguments, Some(lines));
    }

    /// Each file is one record, whatever is in it.
    #[track_caller]
    pub fn produce_files(&self, topic: &str, partition: u32, files: &[PathBuf]) {
        let partition = partition.to_string();
        let mut arguments = vec!["-P", "-t", topic, "-p", &partition, "-X", "message.max.bytes=100000000"];
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        arguments.extend(files.iter().map(String::as_str));
        self.kcat(&arguments, None);
    }

    /// All records of a topic, by a format of kcat's.
    #[track_caller]
    pub fn consume(&self, topic: &str, format: &str) -> Vec<String> {
        let text = self.kcat(&["-C", "-t", topic, "-e", "-o", "beginning", "-f", format], None);
        text.lines().map(str::to_owned).collect()
    }

    /// What the broker knows of a consumer group: its own tool's table.
    pub fn group(&self, name: &str) -> String {
        let arguments = ["--bootstrap-server", &self.broker.to_string(), "--describe", "--group", name];
        tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &arguments)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn launch(folder: &Path) -> Process {
    let file = folder.join(SETTINGS).display().to_string();
    let plan = Plan {
        program: PathBuf::from("java"),
        arguments: ["-Xmx512m", "-cp", &classpath(), "kafka.Kafka", &file].map(Into::into).to_vec(),
        environment: Vec::new(),
        folder: folder.to_path_buf(),
        log: folder.join("kafka.log"),
    };
    Process::start("kafka", &plan)
}

fn tool(class: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-cp", &classpath(), class]).args(arguments);
    let (good, text) = process::run(&mut command, TOOL);
    assert!(good, "{class} {arguments:?}: {text}");
    text
}

fn settings(
    addresses: &[(SocketAddr, SocketAddr)],
    node: usize,
    folder: &Path,
    more: &[(&str, &str)],
) -> String {
    let logs = folder.join("logs").display().to_string();
    let (broker, controller) = addresses[node];
    let voters: Vec<String> =
        addresses.iter().enumerate().map(|(i, (_, controller))| format!("{}@{controller}", i + 1)).collect();
    let copies = addresses.len().to_string();
    let in_sync = (addresses.len() / 2 + 1).to_string();
    let pairs: [(&str, &str); 20] = [
        ("process.roles", "broker,controller"),
        ("node.id", &(node + 1).to_string()),
        ("controller.quorum.voters", &voters.join(",")),
        ("listeners", &format!("PLAINTEXT://{broker},CONTROLLER://{controller}")),
        ("advertised.listeners", &format!("PLAINTEXT://{broker}")),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("log.dirs", &logs),
        ("num.partitions", "3"),
        ("default.replication.factor", &copies),
        ("min.insync.replicas", &in_sync),
        ("offsets.topic.replication.factor", &copies),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", &copies),
        ("transaction.state.log.min.isr", &in_sync),
        ("transaction.state.log.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", &copies),
        ("share.coordinator.state.topic.min.isr", &in_sync),
        ("group.initial.rebalance.delay.ms", "0"),
        ("broker.session.timeout.ms", "9000"),
    ];
    pairs.iter().chain(more).fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={value}");
        text
    })
}

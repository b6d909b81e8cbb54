//! The README's commands do what it says: every `sh` block and every inline `curl` is run as it stands, with the ports
//! replaced by free ones and the load made smaller; every `toml` block is checked by the program that reads it. A command
//! that nobody here knows how to judge fails the test.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::certificate::Certificate;
use tests::process::{Plan, Process, run};
use tests::{Setup, Tocsin, paths, until, until_within};

/// `cargo run` builds what is not built in exactly this selection.
const BUILD_AND_START: Duration = Duration::from_secs(600);
const COMMAND: Duration = Duration::from_secs(30);

fn readme() -> String {
    std::fs::read_to_string(paths::root().join("README.md")).expect("README.md")
}

/// The commands: lines of `sh` blocks (joined where a backslash ends them), and inline `curl`s.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 0 {
            let inline = part.split('`').skip(1).step_by(2);
            commands
                .extend(inline.filter(|code| code.starts_with("curl ")).map(|code| code.replace('\n', " ")));
        } else if let Some(block) = part.strip_prefix("sh\n") {
            let joined = block.replace("\\\n", " ");
            commands.extend(joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
    }
    commands
}

/// A free port for each default one.
struct Ports {
    tocsin: Tocsin,
}

impl Ports {
    fn new() -> Ports {
        Ports { tocsin: Setup::standalone().prepare() }
    }

    fn put_into(&self, command: &str) -> String {
        let listeners = [
            ("8080", "gateway.listen"),
            ("9101", "gateway.admin"),
            ("8090", "router.api"),
            ("9102", "router.admin"),
            ("9090", "router.links"),
        ];
        listeners.iter().fold(command.to_owned(), |command, (default, key)| {
            let port = self.tocsin.setup.text(key).rsplit(':').next().expect("an address has a port");
            command.replace(&format!("127.0.0.1:{default}"), &format!("127.0.0.1:{port}"))
        })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let data = self.tocsin.folder().join("data").display().to_string();
        let mut environment = vec![("TOCSIN_ROUTER_DATA".to_owned(), data)];
        for key in ["gateway.listen", "gateway.admin", "router.api", "router.admin", "router.links"] {
            let name = format!("TOCSIN_{}", key.replace('.', "_").to_uppercase());
            environment.push((name, self.tocsin.setup.text(key).to_owned()));
        }
        environment
    }
}

fn bash(command: &str, ports: &Ports) -> (bool, String) {
    run(Command::new("bash").args(["-c", &ports.put_into(command)]).current_dir(paths::root()), COMMAND)
}

/// A client that listens, as the README shows it: started with an open input, its output in a file.
struct Listener {
    child: std::process::Child,
    output: PathBuf,
}

impl Listener {
    fn start(command: &str, ports: &Ports, folder: &Path) -> Listener {
        // websocat is not in Debian: the README's other way is the one that runs here.
        let command = command.split_once("# or: ").map_or(command, |(_, other)| other);
        let output = folder.join("listener.out");
        let file = File::create(&output).expect("a file");
        let child = Command::new("bash")
            .args(["-c", &format!("exec {}", ports.put_into(command))])
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a clone"))
            .stderr(file)
            .spawn()
            .expect("bash starts");
        Listener { child, output }
    }

    fn wait_for(&self, text: &str) {
        until(&format!("the listener shows {text}"), || {
            std::fs::read_to_string(&self.output).ok()?.contains(text).then_some(())
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_notification_goes_as_the_readme_says() {
    let ports = Ports::new();
    let folder = paths::scratch("readme-");
    let (mut started, mut listener, mut handed_in) = (None, None, false);
    for command in commands(&readme()) {
        let word = command.split_whitespace().next().unwrap_or_default();
        match word {
            "cargo" if command == "cargo run --release" => started = Some(start(&ports, folder.path())),
            "cargo" if command.contains(" -p loadtest -- ") => judge_load(&command, &ports),
            "websocat" | "python3" => {
                let one = Listener::start(&command, &ports, folder.path());
                one.wait_for("welcome");
                listener = Some(one);
            }
            "curl" => {
                let (good, answer) = bash(&command, &ports);
                assert!(good, "{command}\n{answer}");
                let json = answer.find('{').map_or("", |at| &answer[at..]);
                let json: Value =
                    serde_json::from_str(json.trim()).unwrap_or_else(|_| panic!("{command}\n{answer}"));
                judge_curl(&command, &json, listener.as_ref());
                if let Some(backup) = json["dir"].as_str() {
                    let stopped = folder.path().join("stopped");
                    router(&format!("restore --from {backup} --data {}", stopped.display()));
                }
                handed_in |= command.contains("/v1/notifications");
            }
            "target/release/router" => judge_router(&command, folder.path()),
            "tests/run" => judge_tests_run(&command),
            _ => panic!("README.md has a command that no test judges: {command}"),
        }
    }
    assert!(started.is_some() && listener.is_some() && handed_in, "the README starts, listens and hands in");
}

fn start(ports: &Ports, folder: &Path) -> Process {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let process = Process::start(
        "cargo-run",
        &Plan {
            program: cargo.into(),
            arguments: ["run", "--release", "--locked"].map(Into::into).to_vec(),
            environment: ports.environment(),
            folder: paths::root(),
            log: folder.join("cargo-run.log"),
        },
    );
    until_within(BUILD_AND_START, "cargo run --release is ready", || {
        let admin = [ports.tocsin.gateway_admin(), ports.tocsin.router_admin()];
        admin
            .iter()
            .all(|admin| admin.request("GET", "/readyz", &[], None).is_ok_and(|a| a.status == 200))
            .then_some(())
    });
    process
}

fn judge_curl(command: &str, answer: &Value, listener: Option<&Listener>) {
    if command.contains("/v1/reconcile") {
        assert_eq!(answer["balanced"], true, "{answer}");
    } else if command.contains("/v1/notifications") {
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("an id: {answer}"));
        assert!(answer["status_url"].is_string(), "{answer}");
        listener.expect("somebody listens before it is handed in").wait_for(id);
    } else if command.contains("/contacts") {
        assert_eq!(answer["email"], "ada@example.org", "{answer}");
    } else if command.contains("/preferences") {
        assert_eq!(answer["quiet_hours"]["zone"], "Europe/Berlin", "{answer}");
    } else if command.contains("/v1/otp") {
        assert_eq!(
            (&answer["state"], &answer["rungs"][0]["channel"]),
            (&"sending".into(), &"sms".into()),
            "{answer}"
        );
    } else if command.contains("/v1/backups") {
        assert!(answer["files"].as_u64() > Some(0), "{answer}");
    } else {
        panic!("README.md has a curl that no test judges: {command}");
    }
}

/// Backs up and restores as it stands: what stands for a stopped node's folder was restored of the running one.
fn judge_router(command: &str, folder: &Path) {
    let (_, words) = command.split_once(' ').expect("an order");
    let data = if words.starts_with("backup ") { "stopped" } else { "restored" };
    let here = |name: &str| folder.join(name).display().to_string();
    let words = words.split('#').next().unwrap_or_default();
    router(&words.replace("/mnt/tocsin-monday", &here("monday")).replace("tocsin-data", &here(data)));
}

fn router(words: &str) {
    let (good, said) = run(Command::new(paths::program("router")).args(words.split_whitespace()), COMMAND);
    assert!(good, "router {words}\n{said}");
}

/// The same load, for two seconds and with a tenth of the connections: whether it is met is the campaigns' business.
fn judge_load(command: &str, ports: &Ports) {
    let (_, arguments) = command.split_once(" -- ").expect("it was found");
    let arguments =
        ports.put_into(arguments).replace("10000", "500").replace("1000", "100").replace("30s", "2s");
    let arguments = arguments.split(" --expect ").next().unwrap_or_default().to_owned();
    let program = paths::program("loadtest").display().to_string();
    let (good, text) = run(Command::new("bash").args(["-c", &format!("{program} {arguments}")]), COMMAND);
    assert!(good, "{program} {arguments}\n{text}");
}

/// Running all of it from here would not end; that its stages exist can be shown.
fn judge_tests_run(command: &str) {
    let (good, list) = run(Command::new(paths::root().join("tests/run")).arg("--list"), COMMAND);
    assert!(good, "{list}");
    for stage in command.split_whitespace().skip(1) {
        assert!(
            list.lines().any(|line| line.split_whitespace().next() == Some(stage)),
            "{command}: no stage {stage}"
        );
    }
}

#[test]
fn the_settings_that_the_readme_shows_are_accepted() {
    let folder = paths::scratch("readme-");
    let text = readme();
    let blocks: Vec<&str> = text.split("```").filter_map(|part| part.strip_prefix("toml\n")).collect();
    assert!(!blocks.is_empty(), "the README shows how to plug in Kafka");
    // The files that the settings name are here, not where an operator has them.
    let Certificate { cert, key } = Certificate::mint(folder.path(), "chain");
    std::fs::rename(key, cert.with_file_name("key.pem")).expect("a key");
    std::fs::create_dir(folder.path().join("templates")).expect("a folder");
    std::fs::write(
        cert.with_file_name("shop-outcomes.key"),
        "a secret of at least thirty-two bytes, for tests",
    )
    .expect("a file");
    let place = format!("{}/", folder.path().display());
    for block in blocks {
        let file = folder.path().join("tocsin.toml");
        std::fs::write(&file, block.replace("/etc/tocsin/", &place)).expect("a file");
        let mut command = Command::new(paths::program("gateway"));
        let (good, answer) = run(command.arg("--config").arg(&file).arg("--check-config"), COMMAND);
        assert!(good, "{block}\n{answer}");
    }
}

#[test]
fn every_link_of_the_papers_leads_somewhere() {
    let mut broken = Vec::new();
    for paper in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(paths::root().join(paper)).expect("a paper");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let foreign = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !foreign && !paths::root().join(file).exists() {
                broken.push(format!("{paper}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn commands_are_found() {
    let text = "a `curl -H x\nhttp://y` b\n```sh\ncargo run\n\ncurl -d \\\n  z\n```\n```toml\nno = 1\n```\n`not one`";
    assert_eq!(commands(text), ["curl -H x http://y", "cargo run", "curl -d    z"]);
}

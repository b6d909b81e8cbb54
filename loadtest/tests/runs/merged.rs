//! Several load testers that begin together, and one report of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use loadtest::report::Report;

use super::program;
use super::server::{Manners, Server};

fn start(server: &Server, prefix: &str, json: &Path) -> Child {
    let url = server.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args([
        "storm",
        "--url",
        &url,
        "-n",
        "20",
        "--cut-at",
        "500ms",
        "--for",
        "10s",
        "--start-at",
        "+1s",
    ]);
    command.args(["--user-prefix", prefix, "--json"]).arg(json);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn read(path: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(path).expect("a report")).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn two_that_ran_together_are_one_report_and_one_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let server = Server::start(Manners::default());
    let (a, b, sum, page) = (file("a.json"), file("b.json"), file("sum.json"), file("sum.html"));
    let both = [start(&server, "a", &a), start(&server, "b", &b)];
    for mut child in both {
        assert!(child.wait().expect("it ends").success());
    }
    let merged = program(&[
        "merge",
        text(&a),
        text(&b),
        "--json",
        text(&sum),
        "--report",
        text(&page),
        "--expect",
        "established=40,storm_lost=40,storm_back=40",
    ]);
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    let (a_report, b_report, report) = (read(&a), read(&b), read(&sum));
    let count = |report: &Report| report.handshake_ms.expect("handshakes").count;
    assert_eq!(count(&report), count(&a_report) + count(&b_report));
    assert_eq!(report.storm.expect("a storm").back, 40);
    assert!(std::fs::read_to_string(&page).expect("a page").contains("Arrival curve"));
    let drawn = program(&["report", text(&a), "-o", text(&page)]);
    assert!(drawn.status.success());
    let refused = program(&["merge", text(&a), text(&a)]);
    let said = String::from_utf8(refused.stderr).expect("UTF-8");
    assert!(refused.status.code() == Some(2) && said.contains("--user-prefix"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

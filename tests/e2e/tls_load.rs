//! Many clients by wss: each gets each message once, and who comes back resumes.

use std::process::Command;
use std::time::Duration;

use tests::process::run;
use tests::{Setup, paths};

use crate::tls::Tls;

#[test]
fn a_fan_out_by_wss_loses_nothing() {
    let tls = Tls::start(Setup::standalone());
    let mut command = Command::new(paths::program("loadtest"));
    command.args([
        "fanout",
        "--connections",
        "1000",
        "--connect-rate",
        "1000",
        "--rate",
        "10",
        "--for",
        "5s",
    ]);
    command.args(["--size", "2000", "--expect", "lost=0,duplicated=0,failed=0"]);
    command.arg("--url").arg(format!("wss://localhost:{}", tls.tocsin.tls().port()));
    command.arg("--ca").arg(&tls.certificate.cert);
    command.arg("--api").arg(tls.tocsin.api().base());
    let (good, text) = run(&mut command, Duration::from_secs(90));
    assert!(good, "{text}");
    assert!(text.contains("1000 full handshakes, 0 resumed"), "{text}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_an_error_kind() {
    let tls = Tls::start(Setup::standalone());
    let mut command = Command::new(paths::program("loadtest"));
    command.args(["hold", "--connections", "10", "--attempts", "1", "--for", "1s"]);
    command.arg("--url").arg(format!("wss://127.0.0.1:{}", tls.tocsin.tls().port()));
    let other = tests::certificate::Certificate::mint(tls.tocsin.folder(), "other");
    let (good, text) = run(command.arg("--ca").arg(&other.cert), Duration::from_secs(60));
    assert!(!good && text.contains("tls: certificate not trusted"), "{text}");
}

//! The TLS listener speaks 1.2 and 1.3 to clients of other makers, refuses what is older or weaker, resumes, takes a new
//! certificate without dropping anybody, and says clearly what went wrong. The clients are openssl, curl and Python.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::certificate::Certificate;
use tests::deadline::{PATIENCE, Stopwatch};
use tests::process::run;
use tests::{Setup, Tocsin, paths, ports, until};

use crate::support::{expect_id, to_user};

/// A system with a TLS listener; its certificate lies in its folder.
pub(crate) struct Tls {
    pub(crate) tocsin: Tocsin,
    pub(crate) certificate: Certificate,
}

impl Tls {
    pub(crate) fn start(setup: Setup) -> Tls {
        let mut tocsin = Tls::setup(setup).prepare();
        let certificate = Certificate::mint(tocsin.folder(), "node");
        tocsin.start_gateway();
        Tls { tocsin, certificate }
    }

    /// The certificate's files are named by where the program runs: in its folder.
    pub(crate) fn setup(setup: Setup) -> Setup {
        setup
            .set("gateway.tls.listen", ports::free().to_string())
            .set("gateway.tls.cert", "node.pem")
            .set("gateway.tls.key", "node.key")
    }

    fn folder(&self) -> &Path {
        self.tocsin.folder()
    }

    fn metric(&self, name: &str, labels: &str) -> f64 {
        Tocsin::metric(&self.tocsin.gateway_admin(), &format!("tocsin_gateway_tls_{name}_total"), labels)
    }

    /// `openssl s_client`, with a request on its lips; what it printed.
    fn s_client(&self, arguments: &str) -> (bool, String) {
        let request = "printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'";
        let client =
            format!("openssl s_client -connect {} -CAfile node.pem -ign_eof {arguments}", self.tocsin.tls());
        let mut command = Command::new("sh");
        command.current_dir(self.folder()).arg("-c").arg(format!("{request} | {client}"));
        run(&mut command, PATIENCE)
    }

    fn curl(&self, arguments: &str) -> (bool, String) {
        let mut command = Command::new("curl");
        command.current_dir(self.folder()).args(["-sS", "--max-time", "20", "-i", "--cacert", "node.pem"]);
        run(command.args(arguments.split_whitespace()), PATIENCE)
    }
}

#[test]
fn python_does_the_whole_walk_by_wss() {
    let tls = Tls::start(Setup::standalone());
    let mut command = Command::new(paths::prepared("venv/bin/python"));
    command.arg(paths::root().join("tests/python/walk.py"));
    command.arg(format!("wss://localhost:{}", tls.tocsin.tls().port()));
    command.arg(tls.tocsin.api().base()).arg(tests::setup::SERVICE_KEY);
    command.env("SSL_CERT_FILE", &tls.certificate.cert);
    let (good, text) = run(&mut command, Duration::from_secs(60));
    assert!(good, "{text}");
    assert!(tls.metric("handshakes", "version=\"1.3\"") >= 2.0);
}

#[test]
fn openssl_agrees_on_1_2_and_1_3_and_resumes_both() {
    let tls = Tls::start(Setup::standalone());
    for (version, name) in [("-tls1_3", "1.3"), ("-tls1_2", "1.2")] {
        let (good, full) = tls.s_client(&format!("{version} -alpn http/1.1 -sess_out {name}.session"));
        assert!(good && full.contains("HTTP/1.1 200"), "{full}");
        assert!(full.contains("Verify return code: 0 (ok)") && full.contains("New, TLSv"), "{full}");
        assert!(full.contains("ALPN protocol: http/1.1"), "{full}");
        let (good, again) = tls.s_client(&format!("{version} -sess_in {name}.session"));
        assert!(good && again.contains("HTTP/1.1 200") && again.contains("Reused, TLSv"), "{again}");
        for resumed in ["false", "true"] {
            let counted = tls.metric("handshakes", &format!("version=\"{name}\",resumed=\"{resumed}\""));
            assert!((counted - 1.0).abs() < 0.1, "{name} {resumed}: {counted}");
        }
    }
    let (_, early) = tls.s_client("-tls1_3 -sess_in 1.3.session");
    assert!(early.contains("Max Early Data: 0") || early.contains("Early data was not sent"), "{early}");
}

#[test]
fn what_is_old_or_weak_is_refused() {
    let tls = Tls::start(Setup::standalone());
    let (good, text) = tls.s_client("-tls1_1 -cipher ALL:@SECLEVEL=0");
    assert!(!good && text.contains("alert"), "{text}");
    until("it is counted", || (tls.metric("failures", "\"version\"") >= 1.0).then_some(()));
    for weak in ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256"] {
        let (good, text) = tls.s_client(&format!("-tls1_2 -cipher {weak}:@SECLEVEL=0"));
        assert!(!good && text.contains("handshake failure"), "{weak}: {text}");
    }
    until("they are counted", || (tls.metric("failures", "\"suite\"") >= 3.0).then_some(()));
    let (good, text) = tls.s_client("-alpn h2");
    assert!(!good && text.contains("no application protocol"), "{text}");
}

#[test]
fn the_wrong_language_on_either_port_is_answered_clearly() {
    let tls = Tls::start(Setup::standalone());
    let port = tls.tocsin.tls().port();
    let (good, text) = tls.curl(&format!("http://localhost:{port}/healthz"));
    assert!(good && text.contains("400") && text.contains("use https:// or wss://"), "{text}");
    let watch = Stopwatch::start();
    let (good, text) = tls.curl(&format!("https://{}/healthz", tls.tocsin.clients()));
    assert!(!good && text.contains("wrong version number"), "{text}");
    assert!(watch.elapsed() < Duration::from_secs(5), "at once, not when it times out");
}

#[test]
fn a_handshake_that_does_not_come_is_cut() {
    let tls = Tls::start(Setup::standalone().set("gateway.limits.handshake_s", 1));
    for begun in [&b""[..], &[22, 3, 1, 2], &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]] {
        let mut stream = TcpStream::connect(tls.tocsin.tls()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(begun).expect("the socket takes it");
        let watch = Stopwatch::start();
        assert_eq!(stream.read(&mut [0; 16]).ok(), Some(0), "cut, without a word");
        assert!(watch.elapsed() < Duration::from_secs(5));
    }
    until("all are counted", || (tls.metric("failures", "timed_out") >= 3.0).then_some(()));
    until("nothing is held", || {
        let held = Tocsin::metric(&tls.tocsin.gateway_admin(), "tocsin_gateway_connections", "");
        (held < 0.5).then_some(())
    });
}

#[test]
fn admission_refuses_inside_tls_and_resets_before_it() {
    let tls = Tls::start(Setup::standalone().set("gateway.soft_limit", 1).set("gateway.hard_limit", 2));
    let _held = tls.tocsin.connect("ada");
    let url = format!("https://localhost:{}/v1/events?user=bea", tls.tocsin.tls().port());
    let (good, text) = tls.curl(&url);
    assert!(good && text.starts_with("HTTP/1.1 503") && text.contains("over_capacity"), "{text}");
    assert!(text.to_lowercase().contains("\nretry-after: "), "{text}");
    // The second and last place is held by somebody who says nothing: from here on it is a reset, before any TLS.
    let _silent = TcpStream::connect(tls.tocsin.tls()).expect("it listens");
    until("the hard limit resets", || {
        let before = tls.metric("handshakes", "") + tls.metric("failures", "");
        let (good, text) = tls.curl(&url);
        let after = tls.metric("handshakes", "") + tls.metric("failures", "");
        (!good && text.contains("reset") && (after - before).abs() < 0.1).then_some(())
    });
}

#[test]
fn a_new_certificate_is_taken_without_dropping_anybody() {
    let mut tls = Tls::start(Setup::standalone());
    let served = |tls: &Tls| {
        let (_, text) = tls.s_client("");
        let folder = tls.tocsin.folder();
        std::fs::write(folder.join("served.txt"), text).expect("the folder can be written");
        tests::certificate::openssl(folder, "x509 -in served.txt -noout -fingerprint -sha256")
    };
    let old = tls.certificate.fingerprint();
    let (_, text) = tls.s_client("-tls1_3 -sess_out before.session");
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    let url = format!("https://localhost:{}/v1/events?user=ada", tls.tocsin.tls().port());
    let mut stream = Command::new("curl");
    stream.current_dir(tls.folder()).args(["-sSN", "--cacert", "node.pem", &url]);
    let mut stream = stream.stdout(std::process::Stdio::piped()).spawn().expect("curl starts");
    let mut plain = tls.tocsin.connect("ada");
    until("the stream is open", || {
        let open = Tocsin::metric(&tls.tocsin.gateway_admin(), "tocsin_gateway_open", "events");
        (open > 0.5).then_some(())
    });
    let renewed = Certificate::mint(tls.folder(), "renewed");
    tls.certificate.replace(&renewed);
    tls.tocsin.gateway().signal("HUP");
    until("the new one is served", || (served(&tls) == renewed.fingerprint()).then_some(()));
    assert_ne!(renewed.fingerprint(), old);
    let (_, text) = tls.s_client("-tls1_3 -sess_in before.session");
    assert!(text.contains("Reused, TLSv1.3"), "ticket keys outlive the certificate: {text}");

    std::fs::write(&tls.certificate.key, "no key").expect("the folder can be written");
    tls.tocsin.gateway().signal("HUP");
    let log = until("it says so", || {
        let log = tls.tocsin.gateway().log();
        log.contains("nothing was reloaded").then_some(log)
    });
    let line = log.lines().find(|line| line.contains("nothing was reloaded")).unwrap_or_default();
    assert!(line.contains("node.key") && line.contains("no PEM private key"), "{line}");
    assert_eq!(log.matches("nothing was reloaded").count(), 1);
    assert_eq!(served(&tls), renewed.fingerprint(), "the old one stays in force");

    let id = tls.tocsin.api().accepted(&to_user("ada", "still here"));
    expect_id(&mut plain, &id);
    let mut heard = String::new();
    let out = stream.stdout.as_mut().expect("it is piped");
    let mut piece = [0; 1_024];
    while !heard.contains(&id) {
        let read = out.read(&mut piece).expect("the stream goes on");
        assert!(read > 0, "the stream that was open before was dropped: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    stream.kill().expect("it runs");
    stream.wait().expect("it ends");
}

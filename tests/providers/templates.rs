//! A whole system with an operator's own words: each channel has them, a reload brings others or none at all, and one that fails
//! costs nobody a notification.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Setup, Tocsin, paths, process, until};

use crate::house::{Contacts, House};

const CHECK: Duration = Duration::from_secs(10);

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = paths::scratch("words-");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the folder can be written");
}

fn with(folder: &tempfile::TempDir) -> impl FnOnce(Setup) -> Setup {
    let dir = folder.path().to_str().expect("UTF-8").to_owned();
    move |setup| setup.set("templates.dir", dir)
}

/// Sends it, and waits until it came to one provider as its letter number `count`.
fn letter(house: &House, (provider, to): (&str, &str), channel: &str, count: usize, more: &Value) -> Value {
    let mut notification = json!({ "to": { "user": "ada" }, "channels": [channel], "category": "alert",
        "title": "Hi\r\nBcc: eve@x.example", "body": "<b>5 & 6</b> {{ user }}" });
    notification.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    house.tocsin.api().accepted(&notification);
    until(&format!("{channel} brings it"), || {
        let letters = house.letters(provider, to);
        (letters.len() == count).then(|| letters[count - 1]["content"].clone())
    })
}

fn reload(tocsin: &mut Tocsin, says: &str) -> String {
    let before = tocsin.keeper().log().len();
    tocsin.keeper().signal("HUP");
    until(says, || {
        let log = tocsin.keeper().log().split_off(before);
        log.lines().find(|line| line.contains(says)).map(str::to_owned)
    })
}

#[test]
fn every_channel_has_the_operator_s_words_and_no_service_s_word_gets_out_of_its_place() {
    let words = folder(&[
        ("alert.email.subject", "[{{ priority }}] {{ title }}"),
        ("alert.email.html", "<p>{{ body }}</p>"),
        ("default.push.title", "{{ category }}"),
        ("default.sms.txt", "{{ body }} by {{ data.by }}"),
        ("alert.voice.txt", "Attention. {{ body }}"),
    ]);
    let house = House::start(with(&words));
    let Contacts { phone, email, token } = house.knows("ada", 1);
    let plain = json!({});
    let mail = letter(&house, ("smtp", &email), "email", 1, &plain);
    let head = mail["headers"].as_str().expect("headers").to_owned();
    assert!(head.contains("Subject: [normal] Hi Bcc: eve@x.example\r\n"), "{head}");
    assert!(head.contains("multipart/alternative") && !head.contains("\nBcc"), "{head}");
    let body = mail["body"].as_str().expect("a body").replace("=\r\n", "");
    assert!(body.contains("<p>&lt;b&gt;5 &amp; 6&lt;&#x2f;b&gt; {{ user }}</p>"), "{body}");
    assert!(body.contains("<b>5 & 6</b> {{ user }}"), "the text is as it was: {body}");
    let push = letter(&house, ("fcm", &token), "push", 1, &plain);
    let shown = &push["message"]["notification"];
    assert_eq!((&shown["title"], &shown["body"]), (&json!("alert"), &json!("<b>5 & 6</b> {{ user }}")));
    let sms = letter(&house, ("twilio", &phone), "sms", 1, &json!({ "data": { "by": "me\u{7}" } }));
    assert_eq!(sms["form"]["Body"], "<b>5 & 6</b> {{ user }} by me");
    let call = letter(&house, ("twilio", &phone), "voice", 2, &plain);
    let twiml = call["form"]["Twiml"].as_str().expect("words").to_owned();
    assert!(twiml.contains(">Attention. &lt;b&gt;5 &amp; 6&lt;/b&gt; {{ user }}<"), "{twiml}");
}

#[test]
fn a_reload_takes_all_templates_or_none_and_a_failing_one_leaves_the_plain_words_and_says_so_once() {
    let words = folder(&[("alert.sms.txt", "one {{ data.x }}")]);
    let mut house = House::start(with(&words));
    let Contacts { phone, .. } = house.knows("ada", 1);
    let plain = json!({ "title": "T", "body": "B" });
    for count in 1..=2 {
        let sms = letter(&house, ("twilio", &phone), "sms", count, &plain);
        assert_eq!(sms["form"]["Body"], "T\nB", "there is no data");
    }
    let log = house.tocsin.keeper().log();
    assert_eq!(log.matches("the template alert.sms.txt, line 1, fails: undefined value").count(), 1, "{log}");
    let metric = Tocsin::metric(&house.tocsin.router_admin(), "tocsin_router_template_failures_total", "");
    assert!((metric - 2.0).abs() < 0.1, "{metric}");
    write(words.path(), "alert.sms.txt", "two");
    write(words.path(), "alert.email.subject", "{{ title");
    let line = reload(&mut house.tocsin, "nothing was reloaded");
    assert!(line.contains("alert.email.subject") && line.contains("syntax error"), "{line}");
    let data = json!({ "data": { "x": 1 } });
    assert_eq!(letter(&house, ("twilio", &phone), "sms", 3, &data)["form"]["Body"], "one 1");
    fs::remove_file(words.path().join("alert.email.subject")).expect("a file");
    reload(&mut house.tocsin, "templates reloaded");
    assert_eq!(letter(&house, ("twilio", &phone), "sms", 4, &data)["form"]["Body"], "two");
}

#[test]
fn a_broken_template_is_one_clear_line_and_no_start() {
    let words = folder(&[("alert.sms.txt", "{% if title %}")]);
    let tocsin = with(&words)(Setup::standalone()).prepare();
    for more in [&["--check-config"][..], &[]] {
        let mut command = Command::new(paths::program("gateway"));
        command.arg("--config").arg(tocsin.folder().join("gateway.toml")).args(more);
        command.arg("--data").arg(tocsin.folder().join("data"));
        let (good, text) = process::run(&mut command, CHECK);
        assert!(!good && text.lines().count() == 1, "{text}");
        assert!(text.contains("[templates]") && text.contains("alert.sms.txt"), "{text}");
    }
    assert!(!tocsin.folder().join("data").exists(), "a folder was made");
}

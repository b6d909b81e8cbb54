//! Tokens, keys, tickets and texts never show in logs or metrics.

use serde_json::json;
use tests::client::Connect;
use tests::{Setup, jwt};

use crate::support::{expect_id, strs};

#[test]
fn canaries_show_nowhere() {
    let mut tocsin = Setup::standalone()
        .with_tokens()
        .service("canary", "canary-service-key", |service| {
            service.insert("broadcast".into(), true.into());
        })
        .start();
    let token = tocsin.setup.token("ada");
    let mut client = Connect::default().bearer(&token).to(tocsin.clients()).expect("a good token");
    let note = json!({ "to": { "user": "ada" }, "title": "canary-title", "body": "canary-body",
        "data": { "canary-data": 1 }, "channels": ["inapp", "sms"] });
    let id = tocsin.api().accepted(&note);
    expect_id(&mut client, &id);
    client.say(&json!({ "type": "dance", "canary-said": 1 }));
    client.recv("error");
    let forged = jwt::hs256("canary-secret-of-more-than-thirty-two-bytes", &jwt::claims("ada", 60));
    let _ = Connect::default().bearer(&forged).to(tocsin.clients());
    let ticket = tocsin.api().send("POST", "/v1/tickets", &json!({ "user": "ada", "ttl_s": 60 })).json();
    let ticket = ticket["ticket"].as_str().expect("a ticket").to_owned();
    let _ = Connect::default().query("ticket", &ticket).to(tocsin.clients());
    let _ = tocsin.api().with_key("canary-wrong-key").post(&note);
    let pages = [tocsin.gateway_admin(), tocsin.router_admin()].map(|admin| admin.get("/metrics").text);
    let log = tocsin.gateway().log();
    let mut canaries: Vec<String> = [
        "canary-service-key",
        "canary-title",
        "canary-body",
        "canary-data",
        "canary-said",
        "canary-secret",
        "canary-wrong-key",
        tests::setup::TOKEN_SECRET,
    ]
    .map(str::to_owned)
    .to_vec();
    canaries.extend([token, forged, ticket]);
    for canary in strs(&canaries) {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!pages.iter().any(|page| page.contains(canary)), "{canary} is in the metrics");
    }
}

//! A whole router, a mail server, and a reader who has had enough: the mail's own header is followed as a mail provider does it, and
//! no other mail of that kind comes.

use serde_json::json;
use tests::api::Api;
use tests::{Setup, Simulators, until};

#[test]
fn the_header_of_a_mail_ends_all_of_its_kind() {
    let simulators = Simulators::start();
    let setup = Setup::split();
    let url = format!("http://{}/v1/unsubscribe", setup.text("router.api"));
    let mut tocsin = setup
        .set("provider.smtp.url", simulators.of("smtp", "url"))
        .set("provider.smtp.from", "The Shop <alerts@shop.example>")
        .set("email.unsubscribe_url", url)
        .prepare();
    tocsin.start_router();
    let api = tocsin.api();
    api.send("PUT", "/v1/users/ann/contacts", &json!({ "email": "ann@example.org" })).expect(200);
    let mail = |category: &str, priority: &str| {
        let body = json!({ "to": { "user": "ann" }, "channels": ["email"], "title": "T",
            "category": category, "priority": priority });
        api.accepted(&body)
    };
    let mails = |count: usize| {
        until("the mails come", || {
            let received = simulators.received("smtp");
            (received.len() == count).then_some(received)
        })
    };
    mail("news", "normal");
    let headers = mails(1)[0]["content"]["headers"].as_str().expect("headers").replace("\r\n ", " ");
    let of = |name: &str| headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    assert_eq!(of("List-Unsubscribe-Post"), Some("List-Unsubscribe=One-Click"));
    let link = of("List-Unsubscribe").expect("a link").trim();
    let link = link.strip_prefix('<').and_then(|link| link.strip_suffix('>')).expect("in brackets");
    let path = link.strip_prefix(api.base()).expect("on this router");
    let reader = Api::new(api.base(), "");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let click = |method: &str, body| reader.request(method, path, &form, body).expect("an answer");
    click("GET", None).expect(200);
    click("POST", Some(b"List-Unsubscribe=One-Click".as_slice())).expect(200);
    let dropped = mail("news", "high");
    until("it is dropped", || {
        let story = api.get(&format!("/v1/notifications/{dropped}")).json();
        (story["deliveries"][0]["reason"] == "unsubscribed").then_some(())
    });
    mail("bills", "normal");
    mail("news", "critical");
    let received = mails(3);
    let has_link = |at: usize| received[at]["content"]["headers"].to_string().contains("List-Unsubscribe");
    assert!(has_link(1) != has_link(2), "what is critical has no link");
}

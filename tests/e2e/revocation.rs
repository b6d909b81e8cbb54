//! A revocation closes live sockets with 4401 within five seconds.

use std::time::Duration;

use serde_json::json;

use crate::support::{expect_id, shared, to_user};

const EVERYWHERE: Duration = Duration::from_secs(5);

#[test]
fn a_user_s_sockets_all_close() {
    let tocsin = shared();
    let mut clients: Vec<_> = (0..3).map(|i| tocsin.connect_device("revoked", &format!("d{i}"))).collect();
    let mut other = tocsin.connect("not-revoked");
    let answer = tocsin.api().send("POST", "/v1/revocations", &json!({ "user": "revoked" }));
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    for client in &mut clients {
        assert_eq!(client.closed(EVERYWHERE).0, 4401);
    }
    let id = tocsin.api().accepted(&to_user("not-revoked", "still here"));
    expect_id(&mut other, &id);
}

#[test]
fn one_session_closes_alone() {
    let tocsin = shared();
    let mut gone = tocsin.connect_device("revoked-one", "a");
    let mut stays = tocsin.connect_device("revoked-one", "b");
    let session = gone.welcome["session"].clone();
    tocsin.api().send("POST", "/v1/revocations", &json!({ "session": session }));
    assert_eq!(gone.closed(EVERYWHERE).0, 4401);
    let id = tocsin.api().accepted(&to_user("revoked-one", "to b"));
    expect_id(&mut stays, &id);
}

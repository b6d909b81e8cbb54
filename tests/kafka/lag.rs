//! How far behind we are is a figure, ours and Kafka's own.

use serde_json::json;
use tests::{Tocsin, until};

use crate::support::OnKafka;

#[test]
fn lag_is_exported_and_returns_to_zero() {
    let system = OnKafka::start(|setup| setup.set("router.limits.global_per_s", 50));
    let admin = system.tocsin.router_admin();
    let lag = || Tocsin::metric(&admin, "tocsin_router_journal_lag", "");
    let notes: Vec<_> = (0..300).map(|i| json!({ "to": { "user": format!("u{i}") } })).collect();
    system.tocsin.api().accepted_batch(&notes);
    until("it is behind", || (lag() > 0.0).then_some(()));
    until("it has caught up", || (lag() < 0.5).then_some(()));
    until("Kafka's own tool says the same", || {
        let group = system.kafka.group("notification-router");
        let rows = group.lines().filter(|row| row.contains("notifications."));
        let lags: Vec<&str> = rows.filter_map(|row| row.split_whitespace().nth(5)).collect();
        (!lags.is_empty() && lags.iter().all(|lag| ["0", "-"].contains(lag))).then_some(())
    });
}

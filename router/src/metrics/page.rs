//! The page that Prometheus reads, put together when it is asked for.

use ops::metrics::Text;
use wire::time::Wall;

use super::{IngestCounters, REFUSALS, Retention};
use crate::api::App;
use crate::api::problem::Kind as ProblemKind;
use crate::ledger::state::Kind;
use crate::ledger::{Counters, Reason, Reconciliation};
use crate::metrics::Metrics;
use crate::outage::phase::Phase;
use crate::outage::{Shown, mirror};
use crate::outcomes::post;
use crate::projection::{self, Projection};
use crate::provider::{dispatch, health};
use crate::record::Channel;
use crate::status::State;

pub fn render(
    app: &App,
    counters: Option<&Counters>,
    reconciled: Option<&Reconciliation>,
    told: &[post::Shown],
) -> String {
    let mut text = Text::new();
    app.metrics.ingest().iter().for_each(|service| ingest(&mut text, service));
    let metrics = &app.metrics;
    text.histogram(
        "tocsin_router_ingest_seconds",
        "From a checked request to its answer.",
        &[],
        &metrics.ingest_seconds,
    );
    text.histogram(
        "tocsin_router_append_seconds",
        "One append to the journal.",
        &[],
        &metrics.append_seconds,
    );
    let journal = app.intake.journal();
    let status = journal.status();
    text.gauge("tocsin_router_journal_lag", "Records appended and not yet committed.", &[], status.lag);
    let outage = app.outage.as_ref().map(|outage| outage.shown());
    let (store, waiting) = match &outage {
        Some(outage) => ("disk", outage.waiting),
        None => (journal.name(), status.lag),
    };
    text.gauge("tocsin_router_buffer_depth", "Records that wait, by store.", &[("store", store)], waiting);
    if let Some(mirror) = outage.as_ref().and_then(|outage| outage.mirror.as_ref()) {
        let store = &[("store", "redis")];
        text.gauge("tocsin_router_buffer_depth", "Records that wait, by store.", store, mirror.length);
    }
    for one in app.watch.lock().board.all() {
        text.gauge(
            "tocsin_router_dependency_up",
            "1 while a dependency is up, 0 while it is degraded or down.",
            &[("dependency", one.name)],
            u64::from(one.state == State::Up),
        );
    }
    text.gauge("tocsin_router_buffer_bytes", "Bytes that wait, by store.", &[("store", store)], status.bytes);
    text.gauge(
        "tocsin_router_journal_damaged_places",
        "Places met since the start at which records are lost.",
        &[],
        status.damaged,
    );
    if let Some(outage) = &outage {
        self::outage(&mut text, outage);
    }
    if let Some(Ok(projection)) = app.projection.as_ref().map(Projection::shown) {
        self::projection(&mut text, &projection, app.clock.wall());
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &app.kafka {
        self::kafka(&mut text, &kafka.read());
    }
    text.gauge("tocsin_router_links", "Links to gateway shards.", &[], metrics.links.get());
    text.counter(
        "tocsin_router_link_frames_dropped_total",
        "Deliveries that a full link gave back; their sockets were told to sync.",
        &[],
        metrics.link_frames_dropped.get(),
    );
    owner(&mut text, metrics);
    app.dispatch.shown().iter().for_each(|provider| self::provider(&mut text, provider));
    for told in told {
        outcomes(&mut text, told);
    }
    for channel in Channel::ALL {
        text.histogram(
            "tocsin_router_delivery_seconds",
            "From acceptance to the provider's answer, or to a shard's that its sockets are sent it.",
            &[("channel", channel.name())],
            &metrics.delivery_seconds[channel as usize],
        );
    }
    retention(&mut text, &metrics.retention, app.clock.wall());
    alerts(&mut text, app);
    if let Some(counters) = counters {
        limited(&mut text, metrics.refused(ProblemKind::QuotaSpent), counters);
        deliveries(&mut text, counters);
    }
    if let Some(reconciled) = reconciled {
        let unaccounted = reconciled.unaccounted.unsigned_abs() + reconciled.missing;
        text.gauge(
            "tocsin_router_ledger_unaccounted",
            "Deliveries in no state, and records that never came. 0, or something is wrong.",
            &[],
            unaccounted,
        );
    }
    text.finish()
}

/// What decides, and what dresses letters behind it.
fn owner(text: &mut Text, metrics: &Metrics) {
    text.histogram("tocsin_router_turn_seconds", "One turn of the owner.", &[], &metrics.turn_seconds);
    text.counter("tocsin_router_turns_total", "Turns of the owner.", &[], metrics.turns.get());
    text.counter(
        "tocsin_router_store_failures_total",
        "Commits that the store did not take.",
        &[],
        metrics.store_failures.get(),
    );
    text.gauge(
        "tocsin_router_provider_calls_waiting",
        "Provider calls that wait for a worker.",
        &[],
        metrics.provider_waiting.get(),
    );
    text.counter(
        "tocsin_router_template_failures_total",
        "Parts of letters that went out in plain words, as their template failed.",
        &[],
        metrics.template_failures.get(),
    );
}

fn provider(text: &mut Text, shown: &dispatch::Shown) {
    let labels = &[("provider", shown.provider), ("way", shown.way)];
    text.gauge(
        "tocsin_router_breaker_state",
        "Whether a provider is thought to be broken: 0 closed, 1 half open, 2 open.",
        labels,
        shown.breaker.number(),
    );
    for (state, count) in [("waiting", shown.waiting), ("under_way", shown.under_way)] {
        text.gauge(
            "tocsin_router_provider_letters",
            "Letters of an account, by state.",
            &[("provider", shown.provider), ("way", shown.way), ("state", state)],
            count as u64,
        );
    }
    text.gauge(
        "tocsin_router_provider_oldest_seconds",
        "How long the oldest letter that waits for an account has waited.",
        labels,
        shown.oldest_waiting_s.unwrap_or(0),
    );
    text.gauge(
        "tocsin_router_provider_unauthorised",
        "1 while an account is refused: its keys, its rights, or that it is suspended.",
        labels,
        u64::from(shown.state == health::State::Unauthorised),
    );
    for (answer, count) in &shown.answers {
        text.counter(
            "tocsin_router_provider_answers_total",
            "What an account was answered, by whose fault it is.",
            &[("provider", shown.provider), ("way", shown.way), ("answer", answer)],
            *count,
        );
    }
}

fn outcomes(text: &mut Text, told: &post::Shown) {
    let labels = &[("by", told.by), ("service", told.service.as_str())];
    text.gauge(
        "tocsin_router_outcomes_waiting",
        "Final outcomes that a webhook, or the topic, has not taken yet.",
        labels,
        told.waiting,
    );
    text.gauge(
        "tocsin_router_outcomes_lag_seconds",
        "Age of the oldest outcome that a webhook, or the topic, has not taken yet.",
        labels,
        told.oldest_waiting_s,
    );
    for (what, count) in [
        ("sent", told.sent),
        ("refused", told.refused),
        ("dropped", told.dropped),
        ("failures", told.failures),
    ] {
        text.counter(
            "tocsin_router_outcomes_total",
            "Outcomes that were taken, called wrong, or found no room (ever); and messages that were not taken.",
            &[("by", told.by), ("service", told.service.as_str()), ("what", what)],
            count,
        );
    }
}

fn alerts(text: &mut Text, app: &App) {
    let inner = app.watch.lock();
    text.gauge("tocsin_router_alerts", "Alerts that stand.", &[], inner.alerts.standing_count() as u64);
    for alert in inner.alerts.standing() {
        text.gauge(
            "tocsin_router_alert_standing",
            "1 for each alert that stands.",
            &[("alert", &alert.name), ("severity", alert.severity.name())],
            1,
        );
    }
}

fn outage(text: &mut Text, outage: &Shown) {
    if let Some(mirror) = &outage.mirror {
        self::mirror(text, mirror);
    }
    for phase in Phase::ALL {
        text.gauge(
            "tocsin_router_outage_phase",
            "1 for the phase that an outage of Kafka is in.",
            &[("phase", phase.name())],
            u64::from(phase == outage.phase),
        );
    }
    for (what, count) in
        [("buffered", outage.buffered), ("bypassed", outage.bypassed), ("drained", outage.drained)]
    {
        text.counter(
            "tocsin_router_outage_records_total",
            "Records that the disk took for Kafka, that went out ahead of it, and that Kafka has taken since.",
            &[("what", what)],
            count,
        );
    }
    text.gauge(
        "tocsin_router_outage_missing",
        "Records that the disk took and the ledger does not know. 0, or something is wrong.",
        &[],
        outage.missing,
    );
}

fn projection(text: &mut Text, shown: &projection::Shown, now: Wall) {
    text.gauge(
        "tocsin_router_projection_waiting_bytes",
        "Bytes of names of rows that Cassandra has not taken yet.",
        &[],
        shown.waiting_bytes,
    );
    let behind_us = shown.oldest_waiting.map_or(0, |oldest| now.0.saturating_sub(oldest.0));
    text.gauge(
        "tocsin_router_projection_lag_seconds",
        "Age of the oldest change that Cassandra has not taken yet.",
        &[],
        u64::try_from(behind_us / 1_000_000).unwrap_or(0),
    );
    text.counter("tocsin_router_projection_rows_total", "Rows that Cassandra has taken.", &[], shown.written);
    text.counter(
        "tocsin_router_projection_failures_total",
        "Tries that Cassandra did not answer or refused.",
        &[],
        shown.failed,
    );
    text.gauge(
        "tocsin_router_projection_incomplete",
        "1 while more has changed than was queued: the store is carried to Cassandra as a whole.",
        &[],
        u64::from(shown.incomplete_since.is_some()),
    );
    for (state, count) in [
        ("connected", shown.nodes_connected),
        ("away", shown.nodes_known.saturating_sub(shown.nodes_connected)),
    ] {
        text.gauge("tocsin_router_cassandra_nodes", "Nodes of Cassandra.", &[("state", state)], count as u64);
    }
}

fn mirror(text: &mut Text, mirror: &mirror::Shown) {
    let counts = [
        ("mirrored", mirror.mirrored),
        ("unmirrored", mirror.unmirrored),
        ("rescued", mirror.rescued),
        ("foreign", mirror.foreign),
        ("foreign_dropped", mirror.foreign_dropped),
    ];
    for (what, count) in counts {
        text.counter(
            "tocsin_router_mirror_records_total",
            "Critical records copied to Redis, left out because its list was full, had from there alone; values that are none.",
            &[("what", what)],
            count,
        );
    }
}

#[cfg(feature = "kafka")]
fn kafka(text: &mut Text, kafka: &crate::node::kafka::KafkaShown) {
    for lane in &kafka.lag {
        text.gauge(
            "tocsin_router_kafka_lag",
            "Records of one topic's partition that are not committed.",
            &[("lane", lane.priority.name()), ("partition", &lane.partition.to_string())],
            lane.lag(),
        );
    }
    let Some(import) = &kafka.import else { return };
    for (outcome, count) in
        [("imported", import.imported), ("dead_lettered", import.dead_lettered), ("refused", import.refused)]
    {
        text.counter(
            "tocsin_router_import_total",
            "Foreign records, by outcome.",
            &[("outcome", outcome)],
            count,
        );
    }
    text.gauge("tocsin_router_import_lag", "Foreign records that are not committed.", &[], import.lag);
}

fn retention(text: &mut Text, retention: &Retention, now: Wall) {
    for (kind, count) in retention.removed() {
        text.counter(
            "tocsin_router_retention_removed_total",
            "Rows removed because they were kept for long enough, by kind.",
            &[("kind", kind)],
            count,
        );
    }
    let age_us = retention.oldest().map_or(0, |oldest| now.0.saturating_sub(oldest.0));
    text.gauge(
        "tocsin_router_retention_oldest_seconds",
        "Age of the oldest notification that anything is kept of.",
        &[],
        u64::try_from(age_us / 1_000_000).unwrap_or(0),
    );
}

fn ingest(text: &mut Text, service: &IngestCounters) {
    let refused = REFUSALS.iter().zip(&service.refused).map(|(kind, count)| (kind.name(), count));
    for (outcome, count) in
        [("accepted", &service.accepted), ("replayed", &service.replayed)].into_iter().chain(refused)
    {
        text.counter(
            "tocsin_router_ingest_total",
            "Requests to take something in, by service and outcome.",
            &[("service", &service.service), ("outcome", outcome)],
            count.get(),
        );
    }
}

/// The three layers of limits, outermost first.
fn limited(text: &mut Text, quota_spent: u64, counters: &Counters) {
    let dropped = |reason: &Reason| counters.dropped().nth(reason.index()).map_or(0, |(_, count)| count);
    for (layer, count) in [
        ("service_quota", quota_spent),
        ("user_push", dropped(&Reason::PushLimit)),
        ("global_shed", dropped(&Reason::Shed)),
    ] {
        text.counter(
            "tocsin_router_limited_total",
            "What a limit refused or held back, by layer.",
            &[("layer", layer)],
            count,
        );
    }
}

fn deliveries(text: &mut Text, counters: &Counters) {
    for channel in Channel::ALL {
        let tally = counters.channel(channel);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Open) {
            text.counter(
                "tocsin_router_deliveries_total",
                "Deliveries by channel and outcome.",
                &[("channel", channel.name()), ("outcome", kind.name())],
                tally.of(kind),
            );
        }
    }
    for channel in Channel::ALL {
        text.gauge(
            "tocsin_router_deliveries_open",
            "Deliveries that something may still happen to.",
            &[("channel", channel.name())],
            counters.channel(channel).open,
        );
    }
    for (reason, count) in counters.dropped() {
        text.counter(
            "tocsin_router_dropped_total",
            "Deliveries dropped, by reason.",
            &[("reason", reason)],
            count,
        );
    }
}

//! Every statement that is sent more than once, prepared.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Statement;
use scylla::statement::prepared::PreparedStatement;

use crate::limits::{CASSANDRA_READ_ROWS, CASSANDRA_WRITE_WITHIN};

/// By table: a row comes, a row goes.
pub(super) struct Statements {
    pub(super) user_row: PreparedStatement,
    pub(super) user_row_gone: PreparedStatement,
    pub(super) topic_row: PreparedStatement,
    pub(super) topic_row_gone: PreparedStatement,
    pub(super) delivery: PreparedStatement,
    pub(super) deliveries_gone: PreparedStatement,
    pub(super) mark_acknowledged: PreparedStatement,
    pub(super) mark_read: PreparedStatement,
    pub(super) mark_gone: PreparedStatement,
    pub(super) subscription: PreparedStatement,
    pub(super) subscriptions_gone: PreparedStatement,
    pub(super) user_gone: PreparedStatement,
    pub(super) marks_gone: PreparedStatement,
    pub(super) user_rows: PreparedStatement,
    pub(super) user_ids: PreparedStatement,
    pub(super) newest_ids: PreparedStatement,
    pub(super) topic_rows: PreparedStatement,
    pub(super) deliveries: PreparedStatement,
    pub(super) delivered_to: PreparedStatement,
    pub(super) delivered_to_topic: PreparedStatement,
    pub(super) marks: PreparedStatement,
    pub(super) subscriptions: PreparedStatement,
}

/// Rows that are looked at to count what was not read.
const UNREAD_LOOKED_AT_MAX: usize = 1_000;

const ROW: &str = "created_at, notification_id, stamp_us, expires_at, notification";

impl Statements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Statements, PrepareError> {
        let comes = |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            let text = format!(
                "INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks}) USING TIMESTAMP ? AND TTL ?"
            );
            write(session, text)
        };
        let goes = |table: &str, what: &str| {
            write(session, format!("DELETE FROM {keyspace}.{table} USING TIMESTAMP ? WHERE {what}"))
        };
        let asks = |columns: &str, table: &str, what: &str| {
            read(session, format!("SELECT {columns} FROM {keyspace}.{table} WHERE {what}"))
        };
        let (by_user, by_topic) = ("notifications_by_user", "notifications_by_topic");
        let (deliveries, subscriptions) = ("deliveries_by_notification", "subscriptions_by_user");
        let between = "created_at >= ? AND created_at <= ? ORDER BY created_at ASC, notification_id DESC";
        let subscription = format!(
            "INSERT INTO {keyspace}.{subscriptions} (user_id, topic, since_us) VALUES (?, ?, ?) USING TIMESTAMP ?"
        );
        Ok(Statements {
            user_row: comes(by_user, &format!("user_id, {ROW}")).await?,
            user_row_gone: goes(by_user, "user_id = ? AND created_at = ? AND notification_id = ?").await?,
            topic_row: comes(by_topic, &format!("scope, topic, {ROW}")).await?,
            topic_row_gone: goes(
                by_topic,
                "scope = ? AND topic = ? AND created_at = ? AND notification_id = ?",
            )
            .await?,
            delivery: comes(
                deliveries,
                "notification_id, recipient, channel, service, accepted_at, head, state, reason, delivery",
            )
            .await?,
            deliveries_gone: goes(deliveries, "notification_id = ? AND recipient = ?").await?,
            mark_acknowledged: comes("marks_by_user", "user_id, notification_id, acknowledged").await?,
            mark_read: comes("marks_by_user", "user_id, notification_id, read").await?,
            mark_gone: goes("marks_by_user", "user_id = ? AND notification_id = ?").await?,
            subscription: write(session, subscription).await?,
            subscriptions_gone: goes(subscriptions, "user_id = ?").await?,
            user_gone: goes(by_user, "user_id = ?").await?,
            marks_gone: goes("marks_by_user", "user_id = ?").await?,
            user_rows: asks(ROW, by_user, &format!("user_id = ? AND {between}")).await?,
            user_ids: asks("notification_id", by_user, "user_id = ?").await?,
            newest_ids: asks(
                "notification_id",
                by_user,
                &format!("user_id = ? AND created_at <= ? LIMIT {UNREAD_LOOKED_AT_MAX}"),
            )
            .await?,
            topic_rows: asks(ROW, by_topic, &format!("scope = ? AND topic = ? AND {between}")).await?,
            deliveries: asks("head, delivery", deliveries, "notification_id = ?").await?,
            delivered_to: asks("channel", deliveries, "notification_id = ? AND recipient IN ? LIMIT 1")
                .await?,
            delivered_to_topic: asks(
                "channel",
                deliveries,
                "notification_id = ? AND recipient >= 'topic:' AND recipient < 'topic;' LIMIT 1",
            )
            .await?,
            marks: asks(
                "notification_id, acknowledged, read",
                "marks_by_user",
                "user_id = ? AND notification_id IN ?",
            )
            .await?,
            subscriptions: asks("topic, since_us", subscriptions, "user_id = ?").await?,
        })
    }
}

async fn write(session: &Session, text: String) -> Result<PreparedStatement, PrepareError> {
    prepare(session, text, CASSANDRA_WRITE_WITHIN).await
}

async fn read(session: &Session, text: String) -> Result<PreparedStatement, PrepareError> {
    prepare(session, text, crate::limits::CASSANDRA_READ_WITHIN).await
}

/// Any of them may be sent twice.
async fn prepare(
    session: &Session,
    text: String,
    within: Duration,
) -> Result<PreparedStatement, PrepareError> {
    let mut statement = session.prepare(Statement::new(text)).await?;
    statement.set_is_idempotent(true);
    statement.set_request_timeout(Some(within));
    statement.set_page_size(CASSANDRA_READ_ROWS);
    Ok(statement)
}

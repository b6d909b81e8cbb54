//! Rows on their way to Cassandra: partitions beside each other, rows of one partition in their order.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::response::PagingState;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;
use wire::time::Wall;

use super::{Away, Cassandra, away};
use crate::classify::Recipient;
use crate::limits::{
    CASSANDRA_AT_ONCE_MAX, CASSANDRA_BATCH_BYTES_MAX, CASSANDRA_BATCH_MAX, CASSANDRA_WRITE_WITHIN,
};
use crate::owner::view::DeliveryView;
use crate::projection::queue::Erasure;
use crate::projection::rows::{Head, InboxRow, Write};
use crate::store::keys::Place;

type Values = Vec<Option<CqlValue>>;

/// One statement and what it binds.
type Bound<'a> = (&'a PreparedStatement, Values);

pub(super) async fn all(cassandra: &Cassandra, writes: Vec<Write>, number: u64) -> Result<(), Away> {
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut partitions: Vec<Vec<Write>> = Vec::new();
    for write in writes {
        let (table, name, id) = write.partition();
        let place = *places.entry((table, name.to_owned(), id)).or_insert(partitions.len());
        match partitions.get_mut(place) {
            Some(partition) => partition.push(write),
            None => partitions.push(vec![write]),
        }
    }
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    stream::iter(partitions)
        .map(|partition| one_partition(cassandra, partition, number))
        .buffer_unordered(CASSANDRA_AT_ONCE_MAX)
        .try_collect::<()>()
        .await
}

/// In batches that Cassandra takes for small.
async fn one_partition(cassandra: &Cassandra, writes: Vec<Write>, number: i64) -> Result<(), Away> {
    let mut waiting: Vec<Bound<'_>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let next = write.bytes();
        if !waiting.is_empty()
            && (bytes + next > CASSANDRA_BATCH_BYTES_MAX || waiting.len() >= CASSANDRA_BATCH_MAX)
        {
            send(cassandra, std::mem::take(&mut waiting)).await?;
            bytes = 0;
        }
        bytes += next;
        waiting.extend(bound(cassandra, &write, number));
    }
    send(cassandra, waiting).await
}

async fn send(cassandra: &Cassandra, mut bound: Vec<Bound<'_>>) -> Result<(), Away> {
    if bound.len() == 1
        && let Some((statement, values)) = bound.pop()
    {
        return cassandra.session.execute_unpaged(statement, values).await.map(drop).map_err(away);
    }
    if bound.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    batch.set_request_timeout(Some(CASSANDRA_WRITE_WITHIN));
    let mut values = Vec::with_capacity(bound.len());
    for (statement, of) in bound {
        batch.append_statement(statement.clone());
        values.push(of);
    }
    cassandra.session.batch(&batch, values).await.map(drop).map_err(away)
}

fn bound<'a>(cassandra: &'a Cassandra, write: &Write, number: i64) -> Vec<Bound<'a>> {
    let of = &cassandra.statements;
    let at = CqlValue::BigInt(number);
    match write {
        Write::Inbox { to, place, row } => {
            let (comes, goes, mut key) = match to {
                Recipient::User(user) => (&of.user_row, &of.user_row_gone, vec![text(user)]),
                Recipient::Topic(topic) => {
                    (&of.topic_row, &of.topic_row_gone, vec![text("topic"), text(topic)])
                }
                Recipient::All => (&of.topic_row, &of.topic_row_gone, vec![text("all"), text("")]),
                Recipient::Erased(_) => return Vec::new(),
            };
            key.extend([millis(place.at), CqlValue::Uuid(place.id)]);
            match row {
                Some(row) => vec![(comes, inbox_row(key, *place, row, at))],
                None => vec![(goes, all_of([at].into_iter().chain(key)))],
            }
        }
        Write::Deliveries { id, to, story: None, .. } => {
            vec![(&of.deliveries_gone, all_of([at, CqlValue::Uuid(*id), text(&recipient(to))]))]
        }
        Write::Deliveries { id, to, story: Some(story), ttl_s } => {
            let (head, deliveries) = &**story;
            let of_delivery =
                |delivery| (&of.delivery, delivery_row(*id, to, (head, delivery), at.clone(), *ttl_s));
            deliveries.iter().map(of_delivery).collect()
        }
        Write::Mark { user, id, mark: None, .. } => {
            vec![(&of.mark_gone, all_of([at, text(user), CqlValue::Uuid(*id)]))]
        }
        Write::Mark { user, id, mark: Some(mark), ttl_s } => {
            // Only what is set: another act, written beside this one, keeps what it set.
            let flags = [(&of.mark_acknowledged, mark.acknowledged), (&of.mark_read, mark.read)];
            let row = || {
                let set = [text(user), CqlValue::Uuid(*id), CqlValue::Boolean(true)];
                all_of(set.into_iter().chain([at.clone(), CqlValue::Int(*ttl_s)]))
            };
            flags.into_iter().filter(|(_, is_set)| *is_set).map(|(statement, _)| (statement, row())).collect()
        }
        Write::Subscriptions { user, topics } => {
            let gone = (&of.subscriptions_gone, all_of([CqlValue::BigInt(number - 1), text(user)]));
            let comes = topics.iter().map(|(topic, since)| {
                (&of.subscription, all_of([text(user), text(topic), CqlValue::BigInt(since.0), at.clone()]))
            });
            [gone].into_iter().chain(comes).collect()
        }
    }
}

fn inbox_row(key: Vec<CqlValue>, place: Place, row: &InboxRow, at: CqlValue) -> Values {
    let mut values = all_of(key);
    values.extend([Some(CqlValue::BigInt(place.at.0)), row.expires_at.map(millis)]);
    values.extend(all_of([text(&row.text), at, CqlValue::Int(row.ttl_s)]));
    values
}

fn delivery_row(
    id: Uuid,
    to: &Recipient,
    (head, delivery): (&Head, &DeliveryView),
    at: CqlValue,
    ttl_s: i32,
) -> Values {
    let mut values = all_of([
        CqlValue::Uuid(id),
        text(&recipient(to)),
        text(delivery.channel.name()),
        text(&head.service),
        millis(head.accepted_at),
        json(head),
        text(&delivery.state),
    ]);
    values.push(delivery.reason.as_deref().map(text));
    values.extend(all_of([json(delivery), at, CqlValue::Int(ttl_s)]));
    values
}

fn all_of(values: impl IntoIterator<Item = CqlValue>) -> Values {
    values.into_iter().map(Some).collect()
}

/// Several people who were erased have rows of their own.
fn recipient(to: &Recipient) -> String {
    match to {
        Recipient::Erased(hash) => format!("erased:{hash}"),
        known => known.to_string(),
    }
}

fn text(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

fn millis(at: Wall) -> CqlValue {
    CqlValue::Timestamp(CqlTimestamp(at.millis()))
}

fn json(value: &impl serde::Serialize) -> CqlValue {
    CqlValue::Text(serde_json::to_string(value).expect("names, dates and numbers serialize"))
}

/// Rows that this router's store never had are found by the user's inbox.
pub(super) async fn erase(cassandra: &Cassandra, erasure: &Erasure) -> Result<(), Away> {
    let Erasure { user, number } = erasure;
    let of = &cassandra.statements;
    let at = CqlValue::BigInt(i64::try_from(*number).unwrap_or(i64::MAX));
    let to = recipient(&Recipient::User(user.clone()));
    let mut paging = PagingState::start();
    loop {
        let (answer, next) =
            cassandra.session.execute_single_page(&of.user_ids, (user,), paging).await.map_err(away)?;
        let answer = answer.into_rows_result().map_err(away)?;
        for row in answer.rows::<(Uuid,)>().map_err(away)? {
            let (id,) = row.map_err(away)?;
            send(cassandra, vec![(&of.deliveries_gone, all_of([at.clone(), CqlValue::Uuid(id), text(&to)]))])
                .await?;
        }
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Break(()) => break,
            std::ops::ControlFlow::Continue(next) => paging = next,
        }
    }
    // The inbox last: what is cut off half-way begins anew.
    for gone in [&of.marks_gone, &of.subscriptions_gone, &of.user_gone] {
        send(cassandra, vec![(gone, all_of([at.clone(), text(user)]))]).await?;
    }
    Ok(())
}

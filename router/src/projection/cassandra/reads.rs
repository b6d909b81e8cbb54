//! What Cassandra is asked for.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;
use wire::limits::{NOTIFICATION_BYTES_MAX, TOPICS_PER_USER_MAX};
use wire::message::Notification;
use wire::time::Wall;

use super::{Away, Cassandra, away};
use crate::classify::Recipient;
use crate::inbox::{Item, Mark};
use crate::limits::USERS_PER_REQUEST_MAX;
use crate::owner::view::{DeliveryView, Timeline};
use crate::projection::rows::Head;
use crate::store::keys::Place;
use crate::sync::history::Older;

/// Marks that are asked for at once.
const MARKS_AT_ONCE: usize = 100;

type InboxColumns = (CqlTimestamp, Uuid, Option<i64>, Option<CqlTimestamp>, Option<String>);

/// Rows of one millisecond lie by id; their microseconds decide. So a page ends behind a whole millisecond.
pub(super) async fn older(
    cassandra: &Cassandra,
    to: &Recipient,
    after: Place,
    until: Wall,
    limit: usize,
) -> Result<Older, Away> {
    let of = &cassandra.statements;
    let text = |text: &str| Some(CqlValue::Text(text.to_owned()));
    let (statement, mut values) = match to {
        Recipient::User(user) => (&of.user_rows, vec![text(user)]),
        Recipient::Topic(topic) => (&of.topic_rows, vec![text("topic"), text(topic)]),
        Recipient::All => (&of.topic_rows, vec![text("all"), text("")]),
        Recipient::Erased(_) => return Ok(Older::default()),
    };
    for at in [after.at, until] {
        values.push(Some(CqlValue::Timestamp(CqlTimestamp(at.millis()))));
    }
    let mut gathered = Gathered { after, until, items: Vec::new(), whole: 0, millisecond: None };
    let mut paging = PagingState::start();
    while let Some(next) = page(cassandra, statement, &values, paging, &mut gathered).await? {
        if gathered.whole >= limit {
            return Ok(gathered.finish(true));
        }
        paging = next;
    }
    gathered.whole = gathered.items.len();
    Ok(gathered.finish(false))
}

async fn page(
    cassandra: &Cassandra,
    statement: &PreparedStatement,
    values: &Vec<Option<CqlValue>>,
    paging: PagingState,
    gathered: &mut Gathered,
) -> Result<Option<PagingState>, Away> {
    let (answer, next) =
        cassandra.session.execute_single_page(statement, values, paging).await.map_err(away)?;
    let answer = answer.into_rows_result().map_err(away)?;
    for row in answer.rows::<InboxColumns>().map_err(away)? {
        gathered.take(row.map_err(away)?);
    }
    Ok(match next.into_paging_control_flow() {
        ControlFlow::Break(()) => None,
        ControlFlow::Continue(next) => Some(next),
    })
}

/// Others may write there, too.
fn is_shown(text: &str) -> bool {
    text.len() <= NOTIFICATION_BYTES_MAX && serde_json::from_str::<Notification>(text).is_ok()
}

struct Gathered {
    after: Place,
    until: Wall,
    items: Vec<Item>,
    /// So many of them lie in milliseconds that are over.
    whole: usize,
    millisecond: Option<i64>,
}

impl Gathered {
    fn take(&mut self, (created_at, id, stamp_us, expires_at, text): InboxColumns) {
        if self.millisecond != Some(created_at.0) {
            self.millisecond = Some(created_at.0);
            self.whole = self.items.len();
        }
        // A row whose text is gone was deleted while it was written.
        let Some(text) = text else { return };
        if !is_shown(&text) {
            tracing::warn!(%id, "a row of Cassandra is no notification of ours: it is passed over");
            return;
        }
        let at = Wall(stamp_us.unwrap_or(created_at.0.saturating_mul(1_000)));
        let place = Place { at, id };
        if place > self.after && place.at <= self.until {
            let expires_at = expires_at.map(|at| Wall(at.0.saturating_mul(1_000)));
            self.items.push(Item { place, expires_at, text: Bytes::from(text) });
        }
    }

    fn finish(mut self, more: bool) -> Older {
        self.items.truncate(self.whole);
        self.items.sort_by_key(|item| item.place);
        Older { items: self.items, more }
    }
}

pub(super) async fn timeline(cassandra: &Cassandra, id: Uuid) -> Result<Option<Timeline>, Away> {
    let of = &cassandra.statements.deliveries;
    let (mut head, mut deliveries) = (None, Vec::new());
    let mut paging = PagingState::start();
    let more = loop {
        let (answer, next) = cassandra.session.execute_single_page(of, (id,), paging).await.map_err(away)?;
        let answer = answer.into_rows_result().map_err(away)?;
        for row in answer.rows::<(Option<String>, Option<String>)>().map_err(away)? {
            let (of_all, of_one) = row.map_err(away)?;
            let (Some(of_all), Some(of_one)) = (of_all, of_one) else { continue };
            let delivery: DeliveryView = serde_json::from_str(&of_one).map_err(away)?;
            head = Some(serde_json::from_str::<Head>(&of_all).map_err(away)?);
            deliveries.push(delivery);
        }
        let more = deliveries.len() > USERS_PER_REQUEST_MAX;
        match next.into_paging_control_flow() {
            ControlFlow::Continue(next) if !more => paging = next,
            _ => break more,
        }
    };
    let Some(Head { service, priority, category, accepted_at, send_at, expires_at }) = head else {
        return Ok(None);
    };
    deliveries.truncate(USERS_PER_REQUEST_MAX);
    Ok(Some(Timeline {
        id,
        service,
        priority,
        category,
        accepted_at,
        send_at,
        expires_at,
        deliveries,
        more,
        is_list: false,
    }))
}

/// Of a topic it is not asked whether the user is subscribed to it: a mark shows nothing.
pub(super) async fn known_to(cassandra: &Cassandra, user: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, Away> {
    let of = &cassandra.statements;
    let mut known = Vec::new();
    for id in ids {
        let to = [format!("user:{user}"), "all".to_owned()];
        let own = cassandra.session.execute_unpaged(&of.delivered_to, (id, &to[..])).await.map_err(away)?;
        let mut is_known = own.into_rows_result().map_err(away)?.rows_num() > 0;
        if !is_known {
            let topic =
                cassandra.session.execute_unpaged(&of.delivered_to_topic, (id,)).await.map_err(away)?;
            is_known = topic.into_rows_result().map_err(away)?.rows_num() > 0;
        }
        known.extend(is_known.then_some(*id));
    }
    Ok(known)
}

pub(super) async fn marks(
    cassandra: &Cassandra,
    user: &str,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Mark>, Away> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let of = &cassandra.statements.marks;
    let answer = cassandra.session.execute_unpaged(of, (user, ids)).await.map_err(away)?;
    let answer = answer.into_rows_result().map_err(away)?;
    let mut marks = HashMap::new();
    for row in answer.rows::<(Uuid, Option<bool>, Option<bool>)>().map_err(away)? {
        let (id, acknowledged, read) = row.map_err(away)?;
        let is = |flag: Option<bool>| flag.unwrap_or(false);
        marks.insert(id, Mark { acknowledged: is(acknowledged), read: is(read) });
    }
    Ok(marks)
}

/// Looked at from the newest on.
pub(super) async fn unread(cassandra: &Cassandra, user: &str, until: Wall) -> Result<u64, Away> {
    let until = CqlTimestamp(until.millis());
    let ids = cassandra.session.execute_unpaged(&cassandra.statements.newest_ids, (user, until)).await;
    let ids = ids.map_err(away)?.into_rows_result().map_err(away)?;
    let ids: Vec<Uuid> = ids
        .rows::<(Uuid,)>()
        .map_err(away)?
        .map(|row| row.map(|(id,)| id))
        .collect::<Result<_, _>>()
        .map_err(away)?;
    let mut read = 0;
    for some in ids.chunks(MARKS_AT_ONCE) {
        read += marks(cassandra, user, some).await?.values().filter(|mark| mark.read).count();
    }
    Ok((ids.len() - read) as u64)
}

pub(super) async fn subscriptions(cassandra: &Cassandra, user: &str) -> Result<Vec<(String, Wall)>, Away> {
    let of = &cassandra.statements.subscriptions;
    let answer = cassandra.session.execute_unpaged(of, (user,)).await.map_err(away)?;
    let answer = answer.into_rows_result().map_err(away)?;
    let mut topics = Vec::new();
    for row in answer.rows::<(String, Option<i64>)>().map_err(away)?.take(TOPICS_PER_USER_MAX) {
        let (topic, since) = row.map_err(away)?;
        topics.push((topic, Wall(since.unwrap_or(i64::MIN))));
    }
    Ok(topics)
}

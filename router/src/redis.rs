//! Redis: one connection to the server that the settings name, bounded in time, and whether it takes writes.
//!
//! Owns the connection, its time-outs and what the board says of it. Nobody waits longer for it than [`REDIS_CONNECT_WITHIN`] and
//! [`REDIS_ANSWER_WITHIN`], hung or not, and nothing that was accepted depends on it. Started by the router's start;
//! [`CriticalList`] is the list that `outage` keeps its copy in.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, cmd};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::limits::{REDIS_ANSWER_WITHIN, REDIS_ASKED_EVERY, REDIS_CONNECT_WITHIN};
use crate::node::board::Watch;
use crate::outage::mirror::Away;

mod list;
mod target;

pub use list::CriticalList;
pub use target::{Target, TargetError};

/// A key that shows that this Redis takes writes; a replica, a full or a failing one answers, too.
const ALIVE: &str = "tocsin:alive";
/// How long that key outlives the last router.
const ALIVE_S: u32 = 60;

/// The one connection, shared by whoever asks.
pub struct Redis {
    target: Target,
    link: Mutex<Option<MultiplexedConnection>>,
    /// What was last wrong with a list, while Redis itself answers.
    list_fault: StdMutex<Option<String>>,
    watch: Watch,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects when it is first asked. Called inside the runtime.
    pub fn start(target: Target, watch: Watch) -> Arc<Redis> {
        watch.add_redis();
        let redis =
            Arc::new(Redis { target, link: Mutex::default(), list_fault: StdMutex::default(), watch });
        tokio::spawn(Arc::clone(&redis).look_after());
        redis
    }

    /// Asks it for a write every so often, so that a fault is known before anybody needs it. Runs until the runtime ends.
    async fn look_after(self: Arc<Redis>) {
        loop {
            let mut alive = cmd("SET");
            alive.arg(ALIVE).arg(1).arg("EX").arg(ALIVE_S);
            let asked = self.ask::<()>(&alive).await.map_err(|away| away.0);
            let list_fault = self.list_fault().clone();
            self.watch.redis(asked.err().or(list_fault).as_deref());
            sleep(REDIS_ASKED_EVERY).await;
        }
    }

    fn list_fault(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.list_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One command. After a fault of any kind the next one is asked on a new connection: the server may be another one by then.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let mut link = self.connected().await?;
        let answer = match timeout(REDIS_ANSWER_WITHIN, command.query_async(&mut link)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", REDIS_ANSWER_WITHIN.as_millis()),
        };
        *self.link.lock().await = None;
        Err(Away(answer))
    }

    async fn connected(&self) -> Result<MultiplexedConnection, Away> {
        let mut link = self.link.lock().await;
        if let Some(link) = &*link {
            return Ok(link.clone());
        }
        let connected = match timeout(REDIS_CONNECT_WITHIN, self.target.connect()).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {} ms", REDIS_CONNECT_WITHIN.as_millis())),
        };
        let connected = connected.map_err(Away)?;
        *link = Some(connected.clone());
        Ok(connected)
    }
}

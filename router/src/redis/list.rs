//! The list of critical records, as Redis keeps it: `buffer:notifications:critical`, its processing list, and where foreign
//! values stand aside. Each call is one script, so that nobody else is in between. A script that fails half-way (no memory) has
//! written a value to its new place before it took it from the old one.

use std::sync::Arc;

use ::redis::{Cmd, FromRedisValue, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use super::Redis;
use crate::journal::segment::RECORD_BYTES_MAX;
use crate::limits::{FOREIGN_KEPT_MAX, LIST_TAKEN_BYTES};
use crate::outage::mirror::{Aside, Away, List, Pushed, Taken};

const LIST: &str = "buffer:notifications:critical";
const PROCESSING: &str = "tocsin:processing:notifications:critical";
const ASIDE: &str = "tocsin:aside:notifications:critical";

/// As many as the bound leaves room for: how many, and how long both lists are then.
const PUSH: &str = r"
local length = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])
local count = 0
for i = 2, #ARGV do
  if length + count >= tonumber(ARGV[1]) then break end
  redis.call('RPUSH', KEYS[1], ARGV[i])
  count = count + 1
end
return {count, length + count}";

const LENGTH: &str = "return redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])";

/// Fills the processing list and answers with what is in it, as far as an answer may be long.
const TAKE: &str = r"
local wanted, value_max, answer_max, aside_max = unpack(ARGV)
local kept, dropped = 0, 0
for _ = redis.call('LLEN', KEYS[2]) + 1, tonumber(wanted) do
  local value = redis.call('LINDEX', KEYS[1], 0)
  if not value then break end
  if #value <= tonumber(value_max) then
    redis.call('RPUSH', KEYS[2], value)
  elseif redis.call('LLEN', KEYS[3]) < tonumber(aside_max) then
    redis.call('RPUSH', KEYS[3], value)
    kept = kept + 1
  else
    dropped = dropped + 1
  end
  redis.call('LPOP', KEYS[1])
end
local values, bytes = {}, 0
for _, value in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(wanted) - 1)) do
  bytes = bytes + #value
  if #values > 0 and bytes > tonumber(answer_max) then break end
  values[#values + 1] = value
end
return {values, kept, dropped, redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])}";

const FINISH: &str = "for i = 1, #ARGV do redis.call('LREM', KEYS[1], 1, ARGV[i]) end";

const SET_ASIDE: &str = r"
local kept, dropped = 0, 0
for i = 2, #ARGV do
  if redis.call('LLEN', KEYS[2]) < tonumber(ARGV[1]) then
    redis.call('RPUSH', KEYS[2], ARGV[i])
    kept = kept + 1
  else
    dropped = dropped + 1
  end
  redis.call('LREM', KEYS[1], 1, ARGV[i])
end
return {kept, dropped}";

#[derive(Debug)]
pub struct CriticalList {
    redis: Arc<Redis>,
    records_max: u64,
}

impl CriticalList {
    pub fn new(redis: Arc<Redis>, records_max: u64) -> CriticalList {
        CriticalList { redis, records_max }
    }

    async fn ask<T: FromRedisValue>(&self, script: &Cmd) -> Result<T, Away> {
        let answer = self.redis.ask(script).await;
        let fault = answer.as_ref().err().map(|away: &Away| format!("the list of critical records: {away}"));
        *self.redis.list_fault() = fault;
        answer
    }
}

fn script(text: &str, keys: &[&str]) -> Cmd {
    let mut script = cmd("EVAL");
    script.arg(text).arg(keys.len()).arg(keys);
    script
}

fn add(script: &mut Cmd, values: &[Bytes]) {
    for value in values {
        script.arg(&**value);
    }
}

#[async_trait]
impl List for CriticalList {
    async fn length(&self) -> Result<u64, Away> {
        self.ask(&script(LENGTH, &[LIST, PROCESSING])).await
    }

    async fn push(&self, values: &[Bytes]) -> Result<Pushed, Away> {
        let mut push = script(PUSH, &[LIST, PROCESSING]);
        push.arg(self.records_max);
        add(&mut push, values);
        let (count, length) = self.ask(&push).await?;
        Ok(Pushed { count, length })
    }

    async fn take(&self, max: usize) -> Result<Taken, Away> {
        let mut take = script(TAKE, &[LIST, PROCESSING, ASIDE]);
        take.arg(max).arg(RECORD_BYTES_MAX).arg(LIST_TAKEN_BYTES).arg(FOREIGN_KEPT_MAX);
        let (values, kept, dropped, length): (Vec<Vec<u8>>, u64, u64, u64) = self.ask(&take).await?;
        let values = values.into_iter().map(Bytes::from).collect();
        Ok(Taken { values, aside: Aside { kept, dropped }, length })
    }

    async fn finish(&self, values: &[Bytes]) -> Result<(), Away> {
        let mut finish = script(FINISH, &[PROCESSING]);
        add(&mut finish, values);
        self.ask(&finish).await
    }

    async fn set_aside(&self, values: &[Bytes]) -> Result<Aside, Away> {
        let mut aside = script(SET_ASIDE, &[PROCESSING, ASIDE]);
        aside.arg(FOREIGN_KEPT_MAX);
        add(&mut aside, values);
        let (kept, dropped) = self.ask(&aside).await?;
        Ok(Aside { kept, dropped })
    }
}

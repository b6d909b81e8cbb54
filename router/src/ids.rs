//! The ids of notifications: the same request again, by retry or replay, gets the same id, so that the owner's
//! dedup collapses it even when nothing else remembers it. Used by `ingest` and `journal::import`.

use uuid::Uuid;
use wire::time::Wall;

/// The root of our name-based ids. Changing it would make every retry a second notification.
const ROOT: Uuid = Uuid::from_u128(0x6d1f_3b52_77c4_4d0e_9a55_0c1e_9b9f_2a71);

/// The id of what `service` sends under an idempotency key, or under an id of its own.
pub fn for_key(service: &str, key: &str) -> Uuid {
    named("service", service, key)
}

/// The id of a record imported from a foreign Kafka topic.
pub fn for_source(topic: &str, partition: i32, offset: i64) -> Uuid {
    named("source", topic, &format!("{partition}/{offset}"))
}

/// A new id, sortable by time.
pub fn fresh(now: Wall) -> Uuid {
    let mut random = [0; 10];
    getrandom::fill(&mut random).expect("the kernel has random numbers");
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Two steps, so that no pair of names runs into another.
fn named(kind: &str, scope: &str, name: &str) -> Uuid {
    let kind = Uuid::new_v5(&ROOT, kind.as_bytes());
    Uuid::new_v5(&Uuid::new_v5(&kind, scope.as_bytes()), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_has_the_same_id_and_another_service_another() {
        assert_eq!(for_key("shop", "k1"), for_key("shop", "k1"));
        assert_ne!(for_key("shop", "k1"), for_key("shop", "k2"));
        assert_ne!(for_key("shop", "k1"), for_key("bank", "k1"));
        assert_ne!(for_key("ab", "c"), for_key("a", "bc"));
        assert_ne!(for_key("t", "1/2"), for_source("t", 1, 2));
    }

    /// Persistent: these values are in journals and ledgers already written.
    #[test]
    fn ids_never_change_between_versions() {
        assert_eq!(for_key("dev", "k").to_string(), "947c7d37-43e9-5628-8ed0-472e9dcacdb3");
        assert_eq!(for_source("orders", 3, 42).to_string(), "3aa7a459-2a40-56dc-9ead-594ab9ade092");
    }

    #[test]
    fn fresh_ids_differ_and_carry_their_time() {
        let at = Wall(1_700_000_000_000_000);
        let (one, two) = (fresh(at), fresh(at));
        assert_ne!(one, two);
        assert_eq!(one.get_version_num(), 7);
        assert_eq!(one.get_timestamp().map(|stamp| stamp.to_unix().0), Some(1_700_000_000));
    }
}

//! A draft becomes the bytes of a [`Record`]: everything in the appender's task but the sequence, which only the
//! one who writes can give.
//!
//! Pure. Called by both journals. Never assigns a sequence.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::time::Wall;

use super::segment::RECORD_BYTES_MAX;
use super::{AppendError, Draft};
use crate::record::{Record, SCHEDULED_VERSION, Sequence, Skipped, is_readable};

/// Bytes of a record around its request and its service's name: id, date, sequence, skipped runs, field names.
const ENVELOPE_BYTES: usize = 1_024;

/// A draft whose request is serialized.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) partition: u32,
    v: u8,
    id: Uuid,
    service: String,
    accepted_at: Wall,
    request: Box<RawValue>,
}

/// The fields of `Record`, in its order.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    id: Uuid,
    service: &'a str,
    accepted_at: Wall,
    sequence: Sequence,
    #[serde(skip_serializing_if = "<[Skipped]>::is_empty")]
    skipped: &'a [Skipped],
    request: &'a RawValue,
}

impl Prepared {
    pub(super) fn new(draft: Draft, partitions: u32) -> Result<Prepared, AppendError> {
        let partition = Record::partition(&draft.request.to, partitions);
        let v = draft.request.version();
        let request = serde_json::value::to_raw_value(&draft.request)
            .map_err(|error| AppendError::Unavailable(format!("the request is no JSON: {error}")))?;
        let Draft { id, service, accepted_at, .. } = draft;
        let prepared = Prepared { partition, v, id, service, accepted_at, request };
        let found = prepared.bytes_max();
        if found > RECORD_BYTES_MAX {
            return Err(AppendError::TooLong { found, max: RECORD_BYTES_MAX });
        }
        Ok(prepared)
    }

    /// No record of it is longer. A service's name is configured and may need escapes.
    pub(super) fn bytes_max(&self) -> usize {
        self.request.get().len() + 6 * self.service.len() + ENVELOPE_BYTES
    }

    /// Replaces `out` by the record's bytes.
    pub(super) fn write(&self, sequence: Sequence, skipped: &[Skipped], out: &mut BytesMut) {
        out.clear();
        let line = Line {
            v: self.v,
            id: self.id,
            service: &self.service,
            accepted_at: self.accepted_at,
            sequence,
            skipped,
            request: &self.request,
        };
        serde_json::to_writer(out.writer(), &line).expect("a record serializes");
    }
}

/// The way back. The reason is for the dead letters.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !is_readable(record.v) {
        return Err(format!("a record of version {}, this reads {SCHEDULED_VERSION}", record.v));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RECORD_VERSION, SKIPPED_RUNS_MAX};

    #[test]
    fn the_longest_envelope_fits_its_bound_and_reads_back() {
        let request = serde_json::from_str(r#"{"to":{"user":"u"},"data":{"a":[1,2]}}"#).expect("a request");
        let draft = Draft {
            id: Uuid::max(),
            service: "\u{1}\"".repeat(100),
            accepted_at: Wall(253_402_300_799_999_999),
            request,
        };
        let prepared = Prepared::new(draft, 1).expect("it is short");
        let sequence = Sequence { boot: u64::MAX, partition: u32::MAX, seq: u64::MAX };
        let mut bytes = BytesMut::new();
        let skipped = [(u64::MAX, u64::MAX); SKIPPED_RUNS_MAX];
        prepared.write(sequence, &skipped, &mut bytes);
        assert!(bytes.len() <= prepared.bytes_max(), "{} of {}", bytes.len(), prepared.bytes_max());
        let record = decode(&bytes).expect("our own record");
        assert_eq!((record.id, record.sequence), (Uuid::max(), sequence));
        assert_eq!(record.skipped, skipped);
    }

    #[test]
    fn another_version_is_no_record_of_ours() {
        let request = serde_json::from_str(r#"{"to":{"user":"u"}}"#).expect("a request");
        let draft = Draft { id: Uuid::nil(), service: "s".into(), accepted_at: Wall(0), request };
        let prepared = Prepared::new(draft, 4).expect("it is short");
        let mut bytes = BytesMut::new();
        prepared.write(Sequence { boot: 1, partition: 2, seq: 3 }, &[], &mut bytes);
        let newer = String::from_utf8(bytes.to_vec()).expect("JSON").replacen("\"v\":1", "\"v\":3", 1);
        assert!(decode(newer.as_bytes()).is_err_and(|reason| reason.contains("version 3")));
    }

    /// One that knows no `send_at` would send it at once.
    #[test]
    fn a_scheduled_one_is_of_a_version_that_an_older_build_does_not_read() {
        for (more, v) in [("", RECORD_VERSION), (r#","send_at":"2030-01-01T00:00:00Z""#, SCHEDULED_VERSION)] {
            let request =
                serde_json::from_str(&format!(r#"{{"to":{{"user":"u"}}{more}}}"#)).expect("a request");
            let draft = Draft { id: Uuid::nil(), service: "s".into(), accepted_at: Wall(0), request };
            let mut bytes = BytesMut::new();
            let prepared = Prepared::new(draft, 4).expect("it is short");
            prepared.write(Sequence { boot: 1, partition: 2, seq: 3 }, &[], &mut bytes);
            let record = decode(&bytes).expect("our own record");
            assert_eq!((record.v, record.request.send_at.is_some()), (v, v == SCHEDULED_VERSION));
        }
    }
}

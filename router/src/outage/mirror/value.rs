//! One value of the list: a critical record as the disk's log has it. Pure.
//!
//! Whatever a request of the API may not be, a value may not be either: others can write into the list.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::ingest::validate;
use crate::journal::Draft;
use crate::record::{SCHEDULED_VERSION, is_readable};

/// Bytes of a service's name.
const SERVICE_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct Line<'a> {
    v: u8,
    id: Uuid,
    service: String,
    accepted_at: Wall,
    #[serde(borrow)]
    request: &'a RawValue,
}

/// The reason is for the log: without anything of the value.
pub(super) fn read(value: &[u8]) -> Result<Draft, String> {
    let line: Line<'_> = serde_json::from_slice(value)
        .map_err(|error| format!("no record: line {}, column {}", error.line(), error.column()))?;
    let Line { v, id, service, accepted_at, request } = line;
    if !is_readable(v) {
        return Err(format!("a record of version {v}, this reads {SCHEDULED_VERSION}"));
    }
    if service.is_empty() || service.len() > SERVICE_BYTES_MAX {
        return Err(format!("a service's name of {} bytes", service.len()));
    }
    let request = validate::request(request.get().as_bytes())
        .and_then(|request| validate::moment(&request, accepted_at).map(|()| request))
        .map_err(|problem| format!("a request that the API would refuse with {}", problem.kind.status()))?;
    if request.priority != Priority::Critical {
        return Err(format!("a record of priority {}", request.priority.name()));
    }
    Ok(Draft { id, service, accepted_at, request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, Sequence};

    const RECORD: &str = r#"{"v":1,"id":"0198c5a0-0000-7000-8000-000000000001","service":"shop","accepted_at":"2026-02-20T10:00:00Z","sequence":{"boot":1,"partition":2,"seq":3},"request":{"to":{"user":"ada"},"priority":"critical","title":"Fire","channels":["inapp","push"],"fallback":["sms"],"ack_within_s":10}}"#;

    #[test]
    fn what_the_disk_has_is_read_as_it_was_accepted() {
        let record: Record = serde_json::from_str(RECORD).expect("a record");
        assert_eq!(record.sequence, Sequence { boot: 1, partition: 2, seq: 3 });
        // As the disk's log writes it.
        let draft = read(&serde_json::to_vec(&record).expect("JSON")).expect("ours");
        assert_eq!((draft.id, &*draft.service, draft.accepted_at), (record.id, "shop", record.accepted_at));
        assert_eq!(
            serde_json::to_string(&draft.request).expect("JSON"),
            serde_json::to_string(&record.request).expect("JSON")
        );
    }

    #[test]
    fn anything_else_is_refused_with_a_reason_and_none_of_it_shows() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let cases: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"hush".to_vec(),
            vec![0xff, 0xfe, 0],
            b"{}".to_vec(),
            deep.clone().into_bytes(),
            RECORD.replace("\"v\":1", "\"v\":3").into_bytes(),
            RECORD.replace("\"shop\"", "\"\"").into_bytes(),
            RECORD.replace("shop", &"s".repeat(65)).into_bytes(),
            RECORD.replace("critical", "low").into_bytes(),
            RECORD.replace("\"title\":\"Fire\"", "\"send_at\":\"2031-01-01T00:00:00Z\"").into_bytes(),
            RECORD.replace("\"user\":\"ada\"", "\"user\":\"\"").into_bytes(),
            RECORD.replace("\"Fire\"", &format!("\"{}\"", "x".repeat(1_025))).into_bytes(),
            RECORD.replace("\"Fire\"", &deep).into_bytes(),
            RECORD.replace("2026-02-20T10", "yesterday").into_bytes(),
            RECORD.replace("0198c5a0", "hush").into_bytes(),
        ];
        for case in cases {
            let shown = String::from_utf8_lossy(&case[..case.len().min(80)]).into_owned();
            let reason = read(&case).expect_err(&shown);
            assert!(
                !reason.is_empty() && reason.len() < 100 && !reason.contains("hush"),
                "{shown}: {reason}"
            );
        }
    }
}

//! What an outage of Kafka is for the owner: numbers that nobody will read, and critical records that come ahead of the journal.
//!
//! Decides nothing about Kafka; that is `crate::outage`'s. Called by `intake` and `owner`.

use super::clock::Tick;
use super::desk::Desk;
use super::intake;
use crate::journal::Position;
use crate::pipeline::{Rules, Stop};
use crate::record::{Record, SKIPPED_RUNS_MAX, SKIPPED_TOLD_MAX, Sequence};
use crate::store::{Store, StoreError};

/// The record's own number, and those that its producer never saw acknowledged.
pub(super) fn note_sequences<S: Store>(
    desk: &mut Desk<S>,
    record: &Record,
    at: Position,
    now: Tick,
) -> Result<(), StoreError> {
    let mut believed = SKIPPED_TOLD_MAX;
    let mut noted = desk.sequences.note(&desk.turn, record.sequence, at.priority, now.wall);
    for &(first, last) in record.skipped.iter().take(SKIPPED_RUNS_MAX) {
        let last = last.min(first.saturating_add(believed)).min(record.sequence.seq);
        for seq in first..last.saturating_add(1) {
            let sequence = Sequence { seq, ..record.sequence };
            noted = noted.and_then(|()| desk.sequences.note(&desk.turn, sequence, at.priority, now.wall));
            believed = believed.saturating_sub(1);
        }
    }
    match noted {
        // A gap may go unseen, which is told; that is no reason to hold the record back.
        Err(damage @ StoreError::Damaged { .. }) => {
            desk.alert("store_row_damaged", true, damage.to_string());
            Ok(())
        }
        result => result,
    }
}

/// A critical record that the disk holds while Kafka takes nothing. It comes again by its lane, and is known then. One that
/// makes no sense is left to that.
pub(super) fn bypass<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    record: &Record,
    now: Tick,
) -> Result<(), StoreError> {
    match intake::walk(desk, rules, record, now) {
        Ok(walked) if walked.fresh > 0 => {
            desk.counters.lane(record.request.priority).note_processed();
            Ok(())
        }
        Ok(_) | Err(Stop::Senseless(_)) => Ok(()),
        Err(Stop::Book(error)) => Err(error),
    }
}

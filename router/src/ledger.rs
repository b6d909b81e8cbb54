//! The ledger: what became of every delivery that was accepted, and the equation that proves it.
//!
//! Owns the states (`state`), the row of a notification and recipient (`row`), the counters (`counters`), and which
//! sequence numbers came (`sequences`). Pure: the owner hands rows in and writes what comes back, counters in the same
//! batch as the states. Never forgets a delivery before it is final.

pub mod counters;
pub mod row;
pub mod sequences;
pub mod state;

pub use counters::{Counters, Gaps, Reconciliation, Tally};
pub use row::{Delivery, Ladder, LedgerRow, What};
pub use state::{Event, Reason, State};

//! What providers tell afterwards: what became of a letter that they took.
//!
//! Each is proved to be the provider's before it is read. The same may be told twice, late and out of order; what it is worth is the
//! owner's to say.

use wire::time::Wall;

use super::letter::{Address, Class};
use crate::owner::DeliveryKey;

pub mod certificates;
pub mod sns;
pub mod twilio;

/// News of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub delivery: DeliveryKey,
    pub what: What,
    /// Whom it was sent to: the one who is meant, whatever the user's contacts are now.
    pub to: Option<Address>,
    /// The provider's id of it, as [`super::letter::Answer::Taken`] had it.
    pub reference: Option<String>,
    /// When it happened by the provider's clock, or when we were told.
    pub at: Wall,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Delivered,
    Failed {
        class: Class,
        code: String,
    },
    /// The recipient wants none of it any more.
    OptedOut,
    Bounced {
        permanent: bool,
    },
    /// The recipient calls it spam.
    Complained,
}

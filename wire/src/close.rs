//! WebSocket close codes, and for each whether the client may come back and when.

use serde::{Deserialize, Serialize};

/// Why a connection ends. The number is the contract; the reason text is a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    /// The node is draining.
    GoingAway = 1001,
    Protocol = 1002,
    Unsupported = 1003,
    BadUtf8 = 1007,
    /// A policy was broken, a rate above all.
    Policy = 1008,
    TooBig = 1009,
    Restart = 1012,
    /// The reason is `{"retry_after_ms":…}`.
    OverCapacity = 1013,
    /// The token is missing, wrong, expired or revoked.
    Auth = 4401,
    /// Nothing was heard: two pings unanswered, or a handshake that never ended.
    Idle = 4408,
    /// The same device connected again.
    Replaced = 4409,
    /// The client reads more slowly than it is sent to.
    SlowConsumer = 4429,
}

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// Reconnect by the policy, counting attempts.
    Backoff,
    /// Reconnect by the policy as after an unannounced loss.
    Spread,
    /// Get a new token first.
    AfterAuth,
    /// Stay away: the client itself is at fault, or asked for it.
    Never,
}

impl CloseCode {
    pub const ALL: [CloseCode; 13] = [
        CloseCode::Normal,
        CloseCode::GoingAway,
        CloseCode::Protocol,
        CloseCode::Unsupported,
        CloseCode::BadUtf8,
        CloseCode::Policy,
        CloseCode::TooBig,
        CloseCode::Restart,
        CloseCode::OverCapacity,
        CloseCode::Auth,
        CloseCode::Idle,
        CloseCode::Replaced,
        CloseCode::SlowConsumer,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    pub fn from_number(number: u16) -> Option<CloseCode> {
        CloseCode::ALL.into_iter().find(|code| code.number() == number)
    }

    pub fn comeback(self) -> Comeback {
        match self {
            CloseCode::GoingAway | CloseCode::Restart => Comeback::Spread,
            CloseCode::Policy | CloseCode::OverCapacity | CloseCode::Idle | CloseCode::SlowConsumer => {
                Comeback::Backoff
            }
            CloseCode::Auth => Comeback::AfterAuth,
            CloseCode::Normal
            | CloseCode::Protocol
            | CloseCode::Unsupported
            | CloseCode::BadUtf8
            | CloseCode::TooBig
            | CloseCode::Replaced => Comeback::Never,
        }
    }
}

/// Whether a code may stand in a close frame that a peer sent (RFC 6455 §7.4).
pub fn valid_on_the_wire(number: u16) -> bool {
    matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_agree() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(code));
            assert!(valid_on_the_wire(code.number()));
        }
        for reserved in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            assert!(!valid_on_the_wire(reserved), "{reserved}");
        }
    }
}

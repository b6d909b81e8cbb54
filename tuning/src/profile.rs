//! What a host is to carry. Called by everything here; decides nothing.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the host is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Profile {
    #[value(name = "gateway-500k")]
    #[serde(rename = "gateway-500k")]
    Gateway500k,
    #[value(name = "gateway-1m")]
    #[serde(rename = "gateway-1m")]
    Gateway1m,
    #[serde(rename = "loadtest")]
    Loadtest,
    #[serde(rename = "router")]
    Router,
}

impl Profile {
    /// Its place in a row's wishes.
    pub fn place(self) -> usize {
        match self {
            Profile::Gateway500k => 0,
            Profile::Gateway1m => 1,
            Profile::Loadtest => 2,
            Profile::Router => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Profile::Gateway500k => "gateway-500k",
            Profile::Gateway1m => "gateway-1m",
            Profile::Loadtest => "loadtest",
            Profile::Router => "router",
        }
    }

    /// Connections that it is sized for.
    pub fn connections(self) -> u64 {
        match self {
            Profile::Gateway500k => 500_000,
            Profile::Gateway1m | Profile::Loadtest => 1_000_000,
            Profile::Router => 0,
        }
    }

    /// The unit whose limits a systemd drop-in sets; a load tester is started by hand.
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Profile::Gateway500k | Profile::Gateway1m => Some("tocsin-gateway.service"),
            Profile::Router => Some("tocsin-router.service"),
            Profile::Loadtest => None,
        }
    }
}

//! What clients, gateways and routers say to each other.
//!
//! Owns every message, frame, close code and limit that crosses a socket, and the rules for reading them.
//! Never does I/O, reads a clock, spawns a thread or draws from global randomness: time and randomness
//! arrive as arguments, so the same code runs in the gateway, the router, the load tester, a simulation
//! and (compiled to wasm32: `Cargo.toml` has the command) a browser.
#![forbid(unsafe_code)]

pub mod close;
pub mod http;
pub mod limits;
pub mod link;
pub mod message;
pub mod partition;
pub mod proxy;
pub mod reconnect;
pub mod session;
pub mod sse;
pub mod time;
pub mod ws;

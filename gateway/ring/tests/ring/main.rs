//! What the rings promise, shown on real sockets over loopback with small tables. One promise a file.

#![expect(clippy::disallowed_methods, reason = "a test keeps its own time")]

mod accepting;
mod bursts;
mod closing;
mod doors;
mod echo;
mod ending;
mod fairness;
mod pausing;
mod sending;
mod support;
mod waking;

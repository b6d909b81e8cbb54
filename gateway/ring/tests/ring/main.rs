//! What the rings promise, shown on real sockets over loopback with small tables. One promise a file.

mod accepting;
mod bursts;
mod closing;
mod echo;
mod ending;
mod fairness;
mod pausing;
mod sending;
mod support;
mod waking;

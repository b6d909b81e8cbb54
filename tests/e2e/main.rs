//! The real programs, from outside, by their contract. One promise a file; `support` holds what they share.
#![forbid(unsafe_code)]

mod support;

mod addresses;
mod admission;
mod alerts;
mod auth;
mod backup;
mod client_messages;
mod closes;
mod collapse;
mod crash;
mod devices;
mod drain;
mod erasure;
mod events_load;
mod fallback;
mod health;
mod host;
mod idempotency;
mod lifetimes;
mod limits;
mod link_lost;
mod other_language;
mod outbox;
mod pings;
mod quota;
mod refusals;
mod reload;
mod revocation;
mod secrets;
mod side_by_side;
mod slow;
mod sse;
mod start;
mod story;
mod sync;
mod targets;
mod tickets;
mod tls;
mod tls_files;
mod tls_load;
mod ttl;
mod upgrade;
mod walk;

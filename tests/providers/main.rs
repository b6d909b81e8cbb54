//! The router's carriers against the simulated providers of `loadtest providers`, each in its own process: what goes out, what is
//! known after each fault, and that nothing secret shows. The carriers are linked from the router's library; `codes`, `digest`,
//! `events`, `outages`, `secure`, `templates`, `unserved` and `unsubscribe` have whole systems.
#![forbid(unsafe_code)]

mod apns;
mod callbacks;
mod codes;
mod digest;
mod events;
mod fcm;
mod foreign;
mod house;
mod letters;
mod outages;
mod prism;
mod push_away;
mod secure;
mod ses;
mod smtp;
mod support;
mod templates;
mod twilio;
mod unserved;
mod unsubscribe;
mod webpush;

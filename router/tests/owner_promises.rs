//! What the owner promises, one file a subject.

#[path = "owner/world.rs"]
mod world;

#[path = "owner/clients.rs"]
mod clients;
#[path = "owner/commands.rs"]
mod commands;
#[path = "owner/digests.rs"]
mod digests;
#[path = "owner/digests_model.rs"]
mod digests_model;
#[path = "owner/erasure.rs"]
mod erasure;
#[path = "owner/escalation.rs"]
mod escalation;
#[path = "owner/history.rs"]
mod history;
#[path = "owner/letters.rs"]
mod letters;
#[path = "owner/otp.rs"]
mod otp;
#[path = "owner/outage.rs"]
mod outage;
#[path = "owner/outcomes.rs"]
mod outcomes;
#[path = "owner/people.rs"]
mod people;
#[path = "owner/projecting.rs"]
mod projecting;
#[path = "owner/receipts.rs"]
mod receipts;
#[path = "owner/retention.rs"]
mod retention;
#[path = "owner/scheduled.rs"]
mod scheduled;
#[path = "owner/syncing.rs"]
mod syncing;
#[path = "owner/turns.rs"]
mod turns;
#[path = "owner/walk.rs"]
mod walk;
#[path = "owner/wishes.rs"]
mod wishes;

//! Measures the rings against a bare loop on the same sockets, with the clients in a child process of this program:
//!
//! - `ratio`: F = CPU-ns a message of the best bare loop (`send(2)`, batched io_uring) ÷ the rings', interleaved rounds, medians;
//! - `echo`: CPU of an echo, asleep in glommio and asleep in poll(2); CPU of a close;
//! - `idle`: bytes of an idle connection, RSS of the process and kernel slab, over a bare accepted socket.
//!
//! `cargo run --release -p gateway-ring --example fanout -- ratio [CONNS [BYTES [BURST [MESSAGES [REPEATS]]]]]`
//! `cargo run --release -p gateway-ring --example fanout -- idle [CONNS]`
//! `cargo run --release -p gateway-ring --example fanout -- echo [CONNS [ACTIVE]]`
//!
//! The last line of output is JSON. The clients never run on the servers' core, and a machine that does something else
//! meanwhile shows in the spread: quote ratios.

#![expect(clippy::disallowed_methods, reason = "a bench keeps its own time")]

mod bare;
mod clients;
mod echo;
mod idle;
mod machine;
mod ratio;

use std::process::exit;

const USAGE: &str = "usage: fanout ratio [CONNS [BYTES [BURST [MESSAGES [REPEATS]]]]] | fanout idle [CONNS] | \
     fanout echo [CONNS [ACTIVE]]";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize, range: std::ops::RangeInclusive<usize>| {
        let Some(text) = arguments.get(index) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => usage(&format!("{text} is not in {range:?}")),
        }
    };
    match arguments.first().map(String::as_str) {
        Some("ratio") => ratio::run(&ratio::Plan {
            conns: number(1, 1_000, 1..=1_000_000),
            bytes: number(2, 64, 1..=1 << 20),
            burst: number(3, 1, 1..=64),
            messages: number(4, 200_000, 1..=100_000_000),
            repeats: number(5, 9, 1..=1_001),
        }),
        Some("idle") => idle::run(number(1, 10_000, 1..=1_000_000)),
        Some("echo") => echo::run(number(1, 3_000, 1..=1_000_000), number(2, 200, 1..=1_000_000)),
        Some("pingers") => echo::pingers(&arguments[1..]),
        Some("clients") => clients::run(&arguments[1..]),
        Some("hold") => idle::hold(&arguments[1..]),
        _ => usage("a command is needed"),
    }
}

fn usage(fault: &str) -> ! {
    eprintln!("{fault}\n{USAGE}");
    exit(2);
}

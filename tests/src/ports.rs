//! Free ports of loopback, outside the range that the kernel hands to outgoing connections, so that no client socket
//! can take one between two starts of a program.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex};

const LOWEST: u16 = 10_000;
const TRIES_MAX: u32 = 1_000;
/// Steps over the range so that two test processes, which begin at different places, seldom meet.
const STRIDE: u32 = 7_919;

static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// An address that nobody listens on, and that this process has not given out before.
///
/// # Panics
/// When there is none.
pub fn free() -> SocketAddr {
    let highest = first_ephemeral().max(LOWEST + 1_000);
    let span = u32::from(highest - LOWEST);
    for step in 0..TRIES_MAX {
        let place = (std::process::id().wrapping_add(step)).wrapping_mul(STRIDE) % span;
        let port = LOWEST + u16::try_from(place).expect("less than the range");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut taken = TAKEN.lock().expect("no thread panics while it holds this");
        if !taken.contains(&port) && TcpListener::bind(address).is_ok() {
            taken.insert(port);
            return address;
        }
    }
    panic!("no free port between {LOWEST} and {highest}");
}

fn first_ephemeral() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768)
}

//! The listening sockets of a node.
//!
//! All shards listen on one port, each with a socket of its own, and the kernel spreads connections over
//! them. A port that somebody else has is found out first: sockets that share a port would share it with
//! another process of the same user, too. Called by `node`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::limits::LISTEN_BACKLOG;

/// A node that was killed holds its port for a moment longer: the kernel takes its rings, and the sockets in
/// them, down in the background. A supervisor that starts it again at once must not be told that the port is
/// in use.
const RELEASE_TRIES: u32 = 40;
const RELEASE_TRY_EVERY: Duration = Duration::from_millis(50);

/// One listener a shard, all on one address. Port 0 becomes a free one.
pub fn open(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    let probe = bind_released(address)?;
    if shards == 1 {
        return Ok(vec![probe]);
    }
    let address = probe.local_addr()?;
    drop(probe);
    (0..shards).map(|_| gateway_ring::bind(address, LISTEN_BACKLOG, true)).collect()
}

/// Binds alone, and waits a little for a port that is just being released.
fn bind_released(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 1..RELEASE_TRIES {
        match gateway_ring::bind(address, LISTEN_BACKLOG, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(RELEASE_TRY_EVERY),
            bound => return bound,
        }
    }
    gateway_ring::bind(address, LISTEN_BACKLOG, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_and_strangers_do_not() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let shards = open(any, 3).unwrap();
        let address = shards[0].local_addr().unwrap();
        assert!(shards.iter().all(|shard| shard.local_addr().unwrap() == address));
        assert_eq!(open(address, 3).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(open(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}

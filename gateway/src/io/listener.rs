//! The listening sockets of a node.
//!
//! All shards listen on one port, each with a socket of its own, and the kernel spreads connections over them. A port that
//! somebody else has is found out first: sockets that share a port would share it with another process of the same user, too.
//! Called by `node`.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::limits::LISTEN_BACKLOG;

/// One listener a shard, all on one address. Port 0 becomes a free one.
pub fn open(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    let probe = gateway_ring::bind(address, LISTEN_BACKLOG, false)?;
    if shards == 1 {
        return Ok(vec![probe]);
    }
    let address = probe.local_addr()?;
    drop(probe);
    (0..shards).map(|_| gateway_ring::bind(address, LISTEN_BACKLOG, true)).collect()
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

//! The client role: sockets with a chosen source address, put into a slot and connected by the ring. Called by `rings`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Why a connection was not even begun.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("every slot of the table is taken")]
    Full,
    #[error("cannot make a socket towards {to}: {source}")]
    Socket { to: SocketAddr, source: io::Error },
    #[error("cannot bind to source address {from}: {source}")]
    Bind { from: IpAddr, source: io::Error },
    #[error("cannot put the socket into the ring's table: {0}")]
    Install(io::Error),
}

/// A socket that is ready to be connected.
pub(crate) fn socket(from: Option<IpAddr>, to: SocketAddr) -> Result<Socket, ConnectError> {
    let failed = |source| ConnectError::Socket { to, source };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
    socket.set_tcp_nodelay(true).map_err(failed)?;
    if let Some(from) = from {
        bind_address(&socket, from).map_err(|source| ConnectError::Bind { from, source })?;
    }
    Ok(socket)
}

/// Binds the address only: the port is chosen by connect, which knows the other side and so has 64K for each of them.
fn bind_address(socket: &Socket, from: IpAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the descriptor is open for the whole call, and `on` is a live int of `length` bytes.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&SocketAddr::new(from, 0).into())
}

/// Addresses that connects in the kernel point to.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    #[expect(clippy::vec_box, reason = "the kernel holds an address's address while the vector grows")]
    places: Vec<Box<SockAddr>>,
    free: Vec<u32>,
}

impl Addresses {
    pub(crate) fn keep(&mut self, address: SocketAddr) -> u32 {
        let address = SockAddr::from(address);
        if let Some(link) = self.free.pop() {
            *self.places[link as usize] = address;
            return link;
        }
        self.places.push(Box::new(address));
        self.places.len() as u32 - 1
    }

    /// Valid until `release`.
    pub(crate) fn at(&self, link: u32) -> (*const libc::sockaddr, u32) {
        let address = &self.places[link as usize];
        (address.as_ptr().cast(), address.len())
    }

    pub(crate) fn release(&mut self, link: u32) {
        self.free.push(link);
    }
}

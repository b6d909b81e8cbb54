//! A simulator's socket: takes connections, or is gone as the rules say; speaks HTTP/1.1 and HTTP/2 in plain text.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::world::World;
use super::{Provider, goaway, http, smtp};
use crate::limits::SIMULATED_CONNECTIONS_MAX;

pub(super) fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(1_024)
}

/// Until the process ends.
pub(super) async fn serve(provider: Provider, socket: TcpListener, world: Arc<World>) {
    let Ok(at) = socket.local_addr() else { return };
    let room = Arc::new(Semaphore::new(SIMULATED_CONNECTIONS_MAX));
    let (mut socket, mut changes) = (Some(socket), world.changes());
    loop {
        if world.refuses(provider) {
            socket = None;
        } else if socket.is_none() {
            socket = bind(at).ok();
        }
        let Some(listening) = &socket else {
            let again =
                if world.refuses(provider) { Duration::from_secs(3_600) } else { Duration::from_millis(20) };
            let _changed_or_again = tokio::time::timeout(again, changes.changed()).await;
            continue;
        };
        tokio::select! {
            _ = changes.changed() => {}
            taken = listening.accept() => {
                let (Ok((stream, _)), Ok(permit)) = (taken, Arc::clone(&room).acquire_owned().await) else {
                    continue;
                };
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    connection(provider, stream, world).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn mail_connection(stream: TcpStream, world: Arc<World>) {
    let mut changes = world.changes();
    let serving = smtp::connection(stream, Arc::clone(&world));
    tokio::pin!(serving);
    loop {
        tokio::select! {
            _ended = serving.as_mut() => return,
            _ = changes.changed() => {
                if world.drains(Provider::Smtp) {
                    return;
                }
            }
        }
    }
}

async fn connection(provider: Provider, stream: TcpStream, world: Arc<World>) {
    if provider == Provider::Smtp {
        mail_connection(stream, world).await;
        return;
    }
    if world.sends_away(provider) {
        // The client finds out by what it reads.
        let _end = goaway::send_away(stream).await;
        return;
    }
    let Ok(socket) = SockRef::from(&stream).try_clone() else { return };
    let mut changes = world.changes();
    let service = service_fn(|request| {
        let world = Arc::clone(&world);
        async move { http::exchange(provider, &world, request).await }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut drains = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if ended.is_err_and(|error| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)) {
                    // With nothing lingering, the close of the last handle is a reset.
                    let _closed_anyway = socket.set_linger(Some(Duration::ZERO));
                }
                return;
            }
            changed = changes.changed(), if !drains => {
                if changed.is_ok() && world.drains(provider) {
                    drains = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

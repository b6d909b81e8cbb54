//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `POST /drain`.
//!
//! One thread, one request at a time, each with little time and few bytes: it is for operators on loopback.
//! Started by `node`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use ops::metrics::Text;
use wire::http::{parse_request, response};

use crate::admission::Admission;
use crate::limits;
use crate::metrics::{self, ShardMetrics};
use crate::shard::drain::DrainKind;

/// What the admin listener looks at and may do.
pub(crate) struct Operator {
    pub(crate) admission: Arc<Admission>,
    pub(crate) shards: Vec<Arc<ShardMetrics>>,
    /// Whether any router was ever reached.
    pub(crate) was_linked: AtomicBool,
    pub(crate) drain: Box<dyn Fn(DrainKind) + Send + Sync>,
}

/// The running listener.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    pub(crate) fn start(listener: TcpListener, operator: Operator) -> io::Result<Admin> {
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let serve = move || {
            for stream in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // A request that fails is the operator's to repeat.
                let _failed = stream.and_then(|stream| answer(stream, &operator));
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
        Ok(Admin { address, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread; should that fail, it ends with the process.
        if TcpStream::connect_timeout(&self.address, limits::ADMIN_REQUEST_WAIT).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _panicked = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, operator: &Operator) -> io::Result<()> {
    stream.set_read_timeout(Some(limits::ADMIN_REQUEST_WAIT))?;
    stream.set_write_timeout(Some(limits::ADMIN_REQUEST_WAIT))?;
    let mut request = Vec::new();
    let mut piece = [0; 1_024];
    loop {
        let read = stream.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        let answer = match parse_request(&request) {
            Ok(Some(head)) => operator.answer(head.method, head.path),
            Ok(None) if read > 0 && request.len() < limits::ADMIN_REQUEST_BYTES_MAX => continue,
            Ok(None) => return Ok(()),
            Err(bad) => bad.response(),
        };
        return stream.write_all(&answer);
    }
}

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

impl Operator {
    fn answer(&self, method: &str, path: &str) -> Bytes {
        match (method, path) {
            ("GET", "/metrics") => {
                let shards: Vec<&ShardMetrics> = self.shards.iter().map(|shard| &**shard).collect();
                let page = metrics::render(&self.admission, &shards);
                response(200, &[("Content-Type", Text::CONTENT_TYPE)], page.as_bytes())
            }
            ("GET", "/healthz") => response(200, &[TEXT], b"ok\n"),
            ("GET", "/readyz") => self.readiness(),
            ("POST", "/drain") => {
                (self.drain)(DrainKind::GoingAway);
                response(202, &[TEXT], b"draining\n")
            }
            (_, "/drain") => response(405, &[("Allow", "POST")], b""),
            (_, "/metrics" | "/healthz" | "/readyz") => response(405, &[("Allow", "GET")], b""),
            _ => response(404, &[TEXT], b"there is /metrics, /healthz, /readyz and POST /drain\n"),
        }
    }

    /// 200 at the soft limit too: a load balancer must not answer in our place, since its 503 has no
    /// `Retry-After`. A router that is lost later does not make the node unready either: its sockets stay,
    /// and there is no better node.
    fn readiness(&self) -> Bytes {
        if self.shards.iter().all(|shard| shard.links_ready.get() > 0) {
            self.was_linked.store(true, Ordering::Relaxed);
        }
        if self.admission.is_draining() {
            response(503, &[TEXT], b"draining\n")
        } else if !self.admission.is_ready() {
            response(503, &[TEXT], b"the hard limit is reached\n")
        } else if !self.was_linked.load(Ordering::Relaxed) {
            response(503, &[TEXT], b"no router was reached yet\n")
        } else {
            response(200, &[TEXT], b"ready\n")
        }
    }
}

//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `POST /drain`.
//!
//! A few threads, each with one request at a time, which has few bytes and little time for all of it: whoever drips
//! or does not read is cut, and keeps nobody else waiting. It is for operators on loopback. Started by `node`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use ops::clock::Clock;
use ops::metrics::Text;
use wire::http::{parse_request, response};
use wire::time::Mono;

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
    threads: Vec<JoinHandle<()>>,
}

impl Admin {
    pub(crate) fn start(listener: &TcpListener, operator: Operator, clock: Clock) -> io::Result<Admin> {
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let operator = Arc::new(operator);
        let mut admin = Admin { address, stop, threads: Vec::new() };
        for number in 0..limits::ADMIN_THREADS {
            let (told, operator, listener) =
                (Arc::clone(&admin.stop), Arc::clone(&operator), listener.try_clone()?);
            let serve = move || {
                for stream in listener.incoming() {
                    if told.load(Ordering::Relaxed) {
                        return;
                    }
                    // A request that fails is the operator's to repeat.
                    let _failed = stream.and_then(|stream| Caller::new(stream, clock).serve(&operator));
                }
            };
            admin.threads.push(std::thread::Builder::new().name(format!("admin-{number}")).spawn(serve)?);
        }
        Ok(admin)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Each call wakes one thread; should one fail, its thread ends with the process.
        let wake = || TcpStream::connect_timeout(&self.address, limits::ADMIN_REQUEST_WAIT).is_ok();
        if self.threads.iter().all(|_| wake()) {
            for thread in self.threads.drain(..) {
                let _panicked = thread.join();
            }
        }
    }
}

/// Who asks, and until when it is heard and answered.
struct Caller {
    stream: TcpStream,
    clock: Clock,
    ends: Mono,
}

impl Caller {
    fn new(stream: TcpStream, clock: Clock) -> Caller {
        Caller { stream, clock, ends: clock.mono() + limits::ADMIN_REQUEST_WAIT }
    }

    fn serve(mut self, operator: &Operator) -> io::Result<()> {
        let mut request = Vec::new();
        let mut piece = [0; 1_024];
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let read = self.stream.read(&mut piece)?;
            request.extend_from_slice(&piece[..read]);
            let answer = match parse_request(&request) {
                Ok(Some(head)) => operator.answer(head.method, head.path),
                Ok(None) if read > 0 && request.len() < limits::ADMIN_REQUEST_BYTES_MAX => continue,
                Ok(None) => return Ok(()),
                Err(bad) => bad.response(),
            };
            return self.answer(&answer);
        }
    }

    fn answer(&mut self, mut answer: &[u8]) -> io::Result<()> {
        while !answer.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(answer)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => answer = &answer[written..],
            }
        }
        Ok(())
    }

    /// Time that is left; never none, which would be for ever.
    fn left(&self) -> io::Result<Duration> {
        let left = self.ends.since(self.clock.mono());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::AdmissionLimits;

    fn start() -> Admin {
        let operator = Operator {
            admission: Arc::new(Admission::new(AdmissionLimits { soft: 1, hard: 2, accept_rate: 1 })),
            shards: Vec::new(),
            was_linked: AtomicBool::new(false),
            drain: Box::new(|_| {}),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Admin::start(&listener, operator, Clock::start()).expect("threads")
    }

    fn healthz(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn who_drips_is_cut_and_keeps_nobody_waiting() {
        let admin = start();
        let address = admin.address();
        let is_cut = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&is_cut);
        let dripping = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let before_each = Some(Duration::from_millis(100));
            stream.set_read_timeout(before_each).expect("a time-out");
            // 20 seconds of it, ten times what a request may take.
            for _ in 0..200 {
                let heard = stream.read(&mut [0; 64]);
                if matches!(heard, Ok(0)) || stream.write_all(b"G").is_err() {
                    says.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        assert!(healthz(address).expect("an answer").starts_with("HTTP/1.1 200"));
        dripping.join().expect("no panic");
        assert!(is_cut.load(Ordering::Relaxed), "after two seconds it is cut");
    }

    #[test]
    fn it_answers_when_as_many_as_it_has_threads_say_nothing() {
        let admin = start();
        let silent: Vec<TcpStream> = (0..limits::ADMIN_THREADS)
            .map(|_| TcpStream::connect(admin.address()).expect("it listens"))
            .collect();
        assert!(healthz(admin.address()).expect("an answer").starts_with("HTTP/1.1 200"));
        drop(silent);
    }
}

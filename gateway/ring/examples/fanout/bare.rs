//! The floor: the least that a server can do to give each socket its bytes.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

/// Submissions in one enter: the best of 256–4,096 in earlier trials.
const CHUNK: usize = 2_048;
/// Descriptors that one ring's table may hold.
const TABLE: usize = 16_384;

/// A loop of `send(2)`, as std does it.
pub fn send_loop(sockets: &[TcpStream], frame: &[u8], burst: usize) {
    for mut socket in sockets {
        for _ in 0..burst {
            let sent = socket.write(frame).expect("the clients read");
            assert_eq!(sent, frame.len(), "the socket's buffer has room");
        }
    }
}

/// Batches of SEND with fixed files, nothing else.
pub struct Batches {
    rings: Vec<(IoUring, u32)>,
}

impl Batches {
    pub fn new() -> Batches {
        Batches { rings: Vec::new() }
    }

    /// Registers a socket; its descriptor may be closed afterwards.
    pub fn add(&mut self, socket: &TcpStream) {
        if self.rings.last().is_none_or(|(_, used)| *used as usize == TABLE) {
            let ring = IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_cqsize(2 * CHUNK as u32)
                .build(CHUNK as u32)
                .expect("io_uring");
            ring.submitter().register_files_sparse(TABLE as u32).expect("a table");
            self.rings.push((ring, 0));
        }
        let (ring, used) = self.rings.last_mut().expect("just made");
        ring.submitter().register_files_update(*used, &[socket.as_raw_fd()]).expect("a free slot");
        *used += 1;
    }

    pub fn send(&mut self, frame: &[u8], burst: usize) {
        for (ring, used) in &mut self.rings {
            let mut chunk = 0;
            for slot in 0..*used {
                for _ in 0..burst {
                    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                    let send = opcode::Send::new(types::Fixed(slot), frame.as_ptr(), frame.len() as u32);
                    let entry = send.flags(flags).build();
                    // SAFETY: `frame` outlives this function, which ends only when every send has completed.
                    unsafe { ring.submission().push(&entry) }.expect("a chunk fits the queue");
                    chunk += 1;
                    if chunk == CHUNK {
                        complete(ring, chunk, frame.len());
                        chunk = 0;
                    }
                }
            }
            complete(ring, chunk, frame.len());
        }
    }
}

fn complete(ring: &mut IoUring, mut count: usize, bytes: usize) {
    while count > 0 {
        ring.submit_and_wait(count).expect("submit");
        for completion in ring.completion() {
            assert_eq!(completion.result(), bytes as i32, "the socket's buffer has room");
            count -= 1;
        }
    }
}

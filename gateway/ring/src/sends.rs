//! Sends that the kernel has: the frames that must stay alive, and how far each send got. Records are pooled, so that a
//! fan-out allocates nothing once the pool has grown to what is in flight at one time. Called by `ring`.

use std::ptr;

use bytes::Bytes;
use io_uring::squeue;

use crate::ops::{self, Tag};

/// Frames that one send takes. The rest waits in the caller's outbox for `Sent`.
pub const FRAMES_PER_SEND_MAX: usize = 64;
/// Batch records (3 KiB each) that the pool keeps when idle; more are freed as they come back.
const BATCHES_KEPT_MAX: usize = 1_024;
/// The most bytes of one send: completions count in `i32`. Frames beyond it wait for `Sent`.
const BYTES_PER_SEND_MAX: usize = 1 << 30;
/// Marks a link to a batch rather than to a single frame.
const BATCH: u32 = 1 << 31;

/// One frame under way.
#[derive(Debug, Default)]
struct Single {
    frame: Bytes,
    sent: usize,
}

/// Several frames under way in one message.
#[derive(Debug)]
struct Batch {
    frames: Vec<Bytes>,
    /// The frames' remaining bytes. The kernel reads it through `message`.
    vector: Vec<libc::iovec>,
    message: libc::msghdr,
    left: usize,
}

impl Batch {
    fn new() -> Batch {
        let message = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Batch {
            frames: Vec::with_capacity(FRAMES_PER_SEND_MAX),
            vector: Vec::with_capacity(FRAMES_PER_SEND_MAX),
            message,
            left: 0,
        }
    }

    fn push(&mut self, frame: Bytes) {
        self.left += frame.len();
        self.vector.push(libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() });
        self.frames.push(frame);
    }

    /// Drops `sent` bytes from the front of the vector.
    fn advance(&mut self, mut sent: usize) {
        self.left -= sent;
        let mut whole = 0;
        for part in &mut self.vector {
            if sent < part.iov_len {
                part.iov_base = part.iov_base.cast::<u8>().wrapping_add(sent).cast();
                part.iov_len -= sent;
                break;
            }
            sent -= part.iov_len;
            whole += 1;
        }
        self.vector.drain(..whole);
    }

    fn point(&mut self) -> *const libc::msghdr {
        self.message.msg_iov = self.vector.as_mut_ptr();
        self.message.msg_iovlen = self.vector.len();
        &raw const self.message
    }
}

/// All sends in the kernel, of all rings.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    singles: Vec<Single>,
    singles_free: Vec<u32>,
    /// Boxed: the kernel holds a batch's address while the vector grows.
    batches: Vec<Option<Box<Batch>>>,
    batches_free: Vec<u32>,
    kept: usize,
}

/// A send that was put on record: its link, and what it took.
pub(crate) struct Recorded {
    pub(crate) link: u32,
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

impl Sends {
    /// Takes up to [`FRAMES_PER_SEND_MAX`] frames. `None`: there was not one byte.
    pub(crate) fn record(&mut self, frames: &mut dyn Iterator<Item = Bytes>) -> Option<Recorded> {
        let mut taken = 0;
        let mut next = |room: bool| loop {
            if !room || taken == FRAMES_PER_SEND_MAX {
                return None;
            }
            let frame = frames.next()?;
            taken += 1;
            if !frame.is_empty() {
                return Some(frame);
            }
        };
        let first = next(true)?;
        let mut bytes = first.len();
        let Some(second) = next(bytes < BYTES_PER_SEND_MAX) else {
            let link = self.single(first);
            return Some(Recorded { link, frames: taken, bytes });
        };
        let link = self.batch();
        let batch = self.batches[(link & !BATCH) as usize].as_mut().expect("just filled");
        batch.push(first);
        bytes += second.len();
        batch.push(second);
        while let Some(frame) = next(bytes < BYTES_PER_SEND_MAX) {
            bytes += frame.len();
            batch.push(frame);
        }
        Some(Recorded { link, frames: taken, bytes })
    }

    fn single(&mut self, frame: Bytes) -> u32 {
        if let Some(link) = self.singles_free.pop() {
            self.singles[link as usize] = Single { frame, sent: 0 };
            return link;
        }
        self.singles.push(Single { frame, sent: 0 });
        self.singles.len() as u32 - 1
    }

    fn batch(&mut self) -> u32 {
        let index = self.batches_free.pop().unwrap_or_else(|| {
            self.batches.push(None);
            self.batches.len() as u32 - 1
        });
        let place = &mut self.batches[index as usize];
        match place {
            Some(_) => self.kept -= 1,
            None => *place = Some(Box::new(Batch::new())),
        }
        index | BATCH
    }

    /// The submission for what is left of a send. It points into the record, which lives until `release`.
    pub(crate) fn entry(&mut self, link: u32, slot: u32, tag: Tag) -> squeue::Entry {
        if link & BATCH == 0 {
            let single = &self.singles[link as usize];
            let left = &single.frame[single.sent..];
            return ops::send(slot, left.as_ptr(), left.len().min(BYTES_PER_SEND_MAX) as u32, tag);
        }
        let batch = self.batches[(link & !BATCH) as usize].as_mut().expect("recorded and not released");
        ops::send_message(slot, batch.point(), tag)
    }

    /// Counts `sent` bytes off. True: all are gone.
    pub(crate) fn advance(&mut self, link: u32, sent: usize) -> bool {
        if link & BATCH == 0 {
            let single = &mut self.singles[link as usize];
            single.sent += sent;
            assert!(single.sent <= single.frame.len(), "the kernel sends no more than it was given");
            return single.sent == single.frame.len();
        }
        let batch = self.batches[(link & !BATCH) as usize].as_mut().expect("recorded and not released");
        if sent < batch.left {
            batch.advance(sent);
            return false;
        }
        assert!(sent == batch.left, "the kernel sends no more than it was given");
        true
    }

    /// Lets go of the frames. The kernel must be done with them.
    pub(crate) fn release(&mut self, link: u32) {
        if link & BATCH == 0 {
            self.singles[link as usize] = Single::default();
            self.singles_free.push(link);
            return;
        }
        let index = link & !BATCH;
        let place = &mut self.batches[index as usize];
        let batch = place.as_mut().expect("recorded and not released");
        batch.frames.clear();
        batch.vector.clear();
        batch.left = 0;
        if self.kept < BATCHES_KEPT_MAX {
            self.kept += 1;
        } else {
            *place = None;
        }
        self.batches_free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(sizes: &[usize]) -> Vec<Bytes> {
        sizes.iter().enumerate().map(|(index, &size)| Bytes::from(vec![index as u8; size])).collect()
    }

    fn left(sends: &Sends, link: u32) -> Vec<usize> {
        let batch = sends.batches[(link & !BATCH) as usize].as_ref().expect("recorded");
        batch.vector.iter().map(|part| part.iov_len).collect()
    }

    #[test]
    fn a_batch_cut_anywhere_goes_on_at_the_next_byte() {
        for cut in 1..10 {
            let mut sends = Sends::default();
            let mut source = frames(&[3, 0, 2, 5]).into_iter();
            let Recorded { link, frames, bytes } = sends.record(&mut source).expect("ten bytes");
            assert_eq!((frames, bytes), (4, 10));
            assert!(!sends.advance(link, cut));
            assert_eq!(left(&sends, link).iter().sum::<usize>(), 10 - cut);
            assert!(left(&sends, link).iter().all(|&part| part > 0));
            assert!(sends.advance(link, 10 - cut));
            sends.release(link);
        }
    }

    #[test]
    fn no_more_frames_are_taken_than_one_send_carries() {
        let mut sends = Sends::default();
        let mut source = frames(&[1; FRAMES_PER_SEND_MAX + 1]).into_iter();
        let recorded = sends.record(&mut source).expect("bytes");
        assert_eq!(recorded.frames, FRAMES_PER_SEND_MAX);
        assert_eq!(source.count(), 1, "the rest stays with the caller");
    }

    #[test]
    fn records_are_used_again_and_frames_let_go() {
        let mut sends = Sends::default();
        let frame = Bytes::from(vec![7; 100]);
        for _ in 0..100 {
            let one = sends.record(&mut [frame.clone()].into_iter()).expect("bytes");
            let two = sends.record(&mut [frame.clone(), frame.clone()].into_iter()).expect("bytes");
            sends.release(one.link);
            sends.release(two.link);
        }
        assert_eq!((sends.singles.len(), sends.batches.len()), (1, 1));
        assert!(frame.is_unique(), "a released record holds no frame");
    }

    #[test]
    fn nothing_to_send_is_no_record() {
        let mut sends = Sends::default();
        assert!(sends.record(&mut std::iter::empty()).is_none());
        assert!(sends.record(&mut frames(&[0, 0]).into_iter()).is_none());
    }
}

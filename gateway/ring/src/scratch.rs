//! The receive buffers of all rings: one block of memory, a stack of free buffer numbers. A buffer leaves the stack for one
//! read and comes back when the caller has seen the bytes, all within a turn, so a handful serves any number of
//! connections. Never grows. Called by `ring`.

use std::ptr::NonNull;

/// Buffers for reads. A number that was taken is held by exactly one read until it is given back.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Allocated as a boxed slice, made again into one in `drop`. A raw pointer because the kernel writes through it.
    block: NonNull<u8>,
    free: Vec<u16>,
    count: u16,
    each: u32,
}

impl Scratch {
    pub(crate) fn new(count: u16, each: u32) -> Scratch {
        let block = vec![0u8; usize::from(count) * each as usize].into_boxed_slice();
        let block = NonNull::new(Box::into_raw(block).cast::<u8>()).expect("a box is never null");
        Scratch { block, free: (0..count).rev().collect(), count, each }
    }

    /// Bytes of one buffer.
    pub(crate) fn each(&self) -> u32 {
        self.each
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    pub(crate) fn give_back(&mut self, buffer: u16) {
        debug_assert!(!self.free.contains(&buffer), "buffer {buffer} was given back twice");
        self.free.push(buffer);
    }

    /// Where buffer `buffer` starts.
    pub(crate) fn start(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "a buffer number comes from `take`");
        let offset = usize::from(buffer) * self.each as usize;
        // SAFETY: `offset` is within the block: buffer < count, asserted above, and the block is count × each long.
        unsafe { self.block.as_ptr().add(offset) }
    }

    /// The first `length` bytes of a buffer that the kernel has finished with and that is not yet given back.
    pub(crate) fn bytes(&mut self, buffer: u16, length: usize) -> &mut [u8] {
        assert!(length <= self.each as usize, "the kernel writes no more than it was given");
        let start = self.start(buffer);
        // SAFETY: `start` has `each` initialised bytes; the caller's read is complete, so the kernel does not write them;
        // nobody else holds this buffer number; `&mut self` keeps other slices away while this one lives.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let length = usize::from(self.count) * self.each as usize;
        let block = std::ptr::slice_from_raw_parts_mut(self.block.as_ptr(), length);
        // SAFETY: `block` came from `Box::into_raw` of a slice of this length in `new`, and `drop` runs once. No read is
        // in the kernel any more: `Rings::drop` drains every ring first, and forgets this value if it could not.
        drop(unsafe { Box::from_raw(block) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_buffer_is_taken_once_and_they_do_not_overlap() {
        let mut scratch = Scratch::new(3, 256);
        let taken: Vec<u16> = std::iter::from_fn(|| scratch.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
        for &buffer in &taken {
            scratch.bytes(buffer, 256).fill(buffer as u8 + 1);
        }
        for &buffer in &taken {
            assert!(scratch.bytes(buffer, 256).iter().all(|&byte| byte == buffer as u8 + 1));
            scratch.give_back(buffer);
        }
        assert_eq!(scratch.free(), 3);
    }

    #[test]
    #[should_panic(expected = "the kernel writes no more")]
    fn a_length_beyond_the_buffer_is_a_bug() {
        let mut scratch = Scratch::new(1, 256);
        scratch.bytes(0, 257);
    }
}

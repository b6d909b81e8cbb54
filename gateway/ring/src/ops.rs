//! What is asked of the kernel and how its answers are recognised: user data and submission entries. The only promise
//! about memory is in each constructor's words: `ring` keeps what an entry points to until its completion.

use io_uring::{cqueue, opcode, squeue, types};

/// What a completion answers. Fits eight bits of user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Index: the accept record.
    Accept = 1,
    Connect = 2,
    Poll = 3,
    Read = 4,
    Send = 5,
    /// A send whose record is already settled; the result waits to be reported. Made by `ring`, not by the kernel.
    SendSettled = 6,
    /// A cancel or a socket option: the answer does not matter.
    Aside = 7,
    Close = 8,
}

/// Which operation of which occupant: `op << 56 | index << 32 | generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) op: Op,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}
const _: () = assert!(crate::config::SLOTS_PER_RING_MAX <= 1 << 24, "an index has 24 bits of user data");

impl Tag {
    pub(crate) fn new(op: Op, index: u32, generation: u32) -> Tag {
        Tag { op, index, generation }
    }

    pub(crate) fn aside() -> Tag {
        Tag { op: Op::Aside, index: 0, generation: 0 }
    }

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.op as u8) << 56 | u64::from(self.index) << 32 | u64::from(self.generation)
    }

    pub(crate) fn unpack(user_data: u64) -> Option<Tag> {
        let op = match (user_data >> 56) as u8 {
            1 => Op::Accept,
            2 => Op::Connect,
            3 => Op::Poll,
            4 => Op::Read,
            5 => Op::Send,
            6 => Op::SendSettled,
            7 => Op::Aside,
            8 => Op::Close,
            _ => return None,
        };
        Some(Tag { op, index: (user_data >> 32) as u32 & 0x00FF_FFFF, generation: user_data as u32 })
    }
}

/// A completion, copied out of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    pub(crate) fn made(tag: Tag, result: i32) -> Completion {
        Completion { user_data: tag.pack(), result, flags: 0 }
    }

    /// The request stays armed and will answer again.
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// A read left bytes behind.
    pub(crate) fn socket_nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Completion {
        Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() }
    }
}

/// The kernel waits until the socket can be written, all bytes are gone, or it failed; no SIGPIPE.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// `address` and `length` must live until the completion; the socket goes into slot `slot`.
pub(crate) fn accept(
    listener: i32,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
    slot: u32,
    tag: Tag,
) -> squeue::Entry {
    let target = types::DestinationSlot::try_from_slot_target(slot).expect("a slot is far below 2^32 - 2");
    opcode::Accept::new(types::Fd(listener), address, length)
        .file_index(Some(target))
        .build()
        .user_data(tag.pack())
}

/// `address` must live until the completion.
pub(crate) fn connect(slot: u32, address: *const libc::sockaddr, length: u32, tag: Tag) -> squeue::Entry {
    opcode::Connect::new(types::Fixed(slot), address, length).build().user_data(tag.pack())
}

/// Says each time that bytes arrive or the peer hangs up, until it is cancelled.
pub(crate) fn poll(slot: u32, tag: Tag) -> squeue::Entry {
    let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
    opcode::PollAdd::new(types::Fixed(slot), events).multi(true).build().user_data(tag.pack())
}

/// `buffer` must live, and be the kernel's alone, until the completion, which comes within the submission.
pub(crate) fn read(slot: u32, buffer: *mut u8, length: u32, tag: Tag) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(slot), buffer, length)
        .flags(libc::MSG_DONTWAIT)
        .build()
        .user_data(tag.pack())
}

/// `bytes` must live until the completion.
pub(crate) fn send(slot: u32, bytes: *const u8, length: u32, tag: Tag) -> squeue::Entry {
    opcode::Send::new(types::Fixed(slot), bytes, length).flags(SEND_FLAGS).build().user_data(tag.pack())
}

/// `message`, its vector and what that points to must live until the completion.
pub(crate) fn send_message(slot: u32, message: *const libc::msghdr, tag: Tag) -> squeue::Entry {
    opcode::SendMsg::new(types::Fixed(slot), message).flags(SEND_FLAGS as u32).build().user_data(tag.pack())
}

pub(crate) fn cancel(what: Tag) -> squeue::Entry {
    opcode::AsyncCancel::new(what.pack())
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Tag::aside().pack())
}

/// The socket will be closed with a reset. Goes before `close`, which runs whether or not this is known to the kernel.
pub(crate) fn linger_zero(slot: u32) -> squeue::Entry {
    static ZERO: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let value = (&raw const ZERO).cast();
    let length = size_of::<libc::linger>() as u32;
    opcode::SetSockOpt::new(
        types::Fixed(slot),
        libc::SOL_SOCKET as u32,
        libc::SO_LINGER as u32,
        value,
        length,
    )
    .build()
    .flags(squeue::Flags::IO_HARDLINK)
    .flags(squeue::Flags::SKIP_SUCCESS)
    .user_data(Tag::aside().pack())
}

pub(crate) fn close(slot: u32, tag: Tag) -> squeue::Entry {
    opcode::Close::new(types::Fixed(slot)).build().user_data(tag.pack())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_user_data_and_strange_user_data_is_refused() {
        for op in
            [Op::Accept, Op::Connect, Op::Poll, Op::Read, Op::Send, Op::SendSettled, Op::Aside, Op::Close]
        {
            let tag = Tag::new(op, 0x00AB_CDEF, u32::MAX);
            assert_eq!(Tag::unpack(tag.pack()), Some(tag));
        }
        assert_eq!(Tag::unpack(0), None);
        assert_eq!(Tag::unpack(u64::MAX), None);
    }
}

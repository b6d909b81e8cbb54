//! The slots of one ring: who sits where, under which generation, and what is under way for him. Twelve bytes a slot,
//! made when first needed. Never touches the kernel; called by `ring` and its neighbours.

/// No send, connect or free slot behind this link.
pub(crate) const NO_LINK: u32 = u32::MAX;

/// One place in a ring's file table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// Counts the occupants, from one, so that a `Conn` is never zero.
    pub(crate) generation: u32,
    /// Free: the next free slot. Sending: the send's record. Connecting: the address's record.
    pub(crate) link: u32,
    /// The scratch buffer that a read in the kernel holds.
    pub(crate) buffer: u16,
    pub(crate) flags: u16,
}
const _: () = assert!(size_of::<Slot>() <= 16, "the ring's own cost of an idle connection");

/// A `Conn` was given out for this slot and `Closed` was not yet reported.
pub(crate) const LIVE: u16 = 1;
/// In the kernel: a connect.
pub(crate) const CONNECTING: u16 = 1 << 1;
/// In the kernel: the multishot poll.
pub(crate) const POLLING: u16 = 1 << 2;
/// In the kernel: a read.
pub(crate) const READING: u16 = 1 << 3;
/// In the kernel: a send.
pub(crate) const SENDING: u16 = 1 << 4;
/// The poll said that there is something to read and no read was made since.
pub(crate) const READABLE: u16 = 1 << 5;
/// Listed for a read.
pub(crate) const READ_LISTED: u16 = 1 << 6;
/// Listed for a (new) poll.
pub(crate) const POLL_LISTED: u16 = 1 << 7;
/// The caller holds reading back.
pub(crate) const PAUSED: u16 = 1 << 8;
/// The peer hung up: read on until the end shows.
pub(crate) const HUNG_UP: u16 = 1 << 9;
/// `Ended` was reported.
pub(crate) const ENDED: u16 = 1 << 10;
/// The caller closed, or the connect failed.
pub(crate) const CLOSING: u16 = 1 << 11;
/// The kernel has the close.
pub(crate) const CLOSE_SENT: u16 = 1 << 12;
/// Close with a reset.
pub(crate) const RESET: u16 = 1 << 13;
/// Free the slot without a `Closed`.
pub(crate) const SILENT: u16 = 1 << 14;

/// While one of these is set the kernel still holds the socket, so the slot cannot be given away.
pub(crate) const IN_KERNEL: u16 = CONNECTING | POLLING | READING | SENDING;

impl Slot {
    pub(crate) fn is(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(crate) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    pub(crate) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }
}

#[derive(Debug)]
pub(crate) struct Slots {
    /// The slots that were ever taken.
    made: Vec<Slot>,
    capacity: u32,
    free_head: u32,
    free: u32,
    live: u32,
}

impl Slots {
    pub(crate) fn new(capacity: u32) -> Slots {
        Slots { made: Vec::new(), capacity, free_head: NO_LINK, free: capacity, live: 0 }
    }

    /// Slots that nobody holds, not even an accept that waits.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// Takes a slot out of the free ones, without flags.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        self.free -= 1;
        if self.free_head == NO_LINK {
            let index = self.made.len() as u32;
            debug_assert!(index < self.capacity, "`free` counts the slots that were never made");
            self.made.push(Slot { generation: 1, link: NO_LINK, buffer: 0, flags: 0 });
            return Some(index);
        }
        let index = self.free_head;
        let slot = &mut self.made[index as usize];
        self.free_head = slot.link;
        slot.link = NO_LINK;
        Some(index)
    }

    /// Marks a taken slot as somebody's.
    pub(crate) fn occupy(&mut self, index: u32, flags: u16) -> &mut Slot {
        self.live += 1;
        let slot = &mut self.made[index as usize];
        debug_assert!(slot.flags == 0, "a slot is taken before it is occupied");
        slot.flags = LIVE | flags;
        slot
    }

    /// Gives a slot back. Its handles are dead from here on.
    pub(crate) fn release(&mut self, index: u32) {
        let slot = &mut self.made[index as usize];
        debug_assert!(!slot.is(IN_KERNEL), "the kernel still holds slot {index}");
        if slot.is(LIVE) {
            self.live -= 1;
            // Skips zero when it wraps.
            slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        }
        slot.flags = 0;
        slot.link = self.free_head;
        self.free_head = index;
        self.free += 1;
    }

    /// The slot of a living handle.
    pub(crate) fn find(&mut self, index: u32, generation: u32) -> Option<&mut Slot> {
        let slot = self.made.get_mut(index as usize)?;
        (slot.generation == generation && slot.is(LIVE)).then_some(slot)
    }

    /// Occupied slots that nobody has closed.
    pub(crate) fn unclosed(&self) -> Vec<u32> {
        let slots = self.made.iter().enumerate();
        let unclosed = slots.filter(|(_, slot)| slot.is(LIVE) && !slot.is(CLOSING));
        unclosed.map(|(index, _)| index as u32).collect()
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Slot {
        &mut self.made[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_slot_comes_back_under_a_new_generation() {
        let mut slots = Slots::new(2);
        let first = slots.take().expect("two are free");
        let generation = slots.occupy(first, POLLING).generation;
        assert!(slots.find(first, generation).is_some());
        slots.at(first).clear(POLLING);
        slots.release(first);
        assert!(slots.find(first, generation).is_none(), "dead while free");
        let again = slots.take().expect("one was released");
        assert_eq!(again, first, "the warm one first");
        slots.occupy(again, 0);
        assert!(slots.find(first, generation).is_none(), "dead under the next occupant");
        assert_eq!(slots.find(first, generation + 1).map(|slot| slot.flags), Some(LIVE));
    }

    #[test]
    fn exactly_the_capacity_is_given_out() {
        let mut slots = Slots::new(3);
        let taken: Vec<u32> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!((slots.free(), slots.live()), (0, 0));
        slots.release(1);
        assert_eq!((slots.take(), slots.take()), (Some(1), None));
    }

    #[test]
    fn a_generation_never_becomes_zero() {
        let mut slots = Slots::new(1);
        slots.take().expect("one is free");
        slots.occupy(0, 0).generation = u32::MAX;
        slots.release(0);
        assert_eq!(slots.at(0).generation, 1);
    }
}

//! Who is connected where: user → links, topic → links, from what the shards announce.

/// A link to a shard. Never used again after it went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

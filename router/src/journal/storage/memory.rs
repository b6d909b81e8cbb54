//! A disk in memory that breaks on demand: power cuts, failing operations, a full disk, flipped bits.
//!
//! Owns the model of what a real disk may do: bytes that were not synced survive in any sectors or not at all,
//! names that were not synced survive up to any point, and bytes whose sync failed are gone at the next power cut
//! even if a later sync says otherwise. Seeded: the same seed breaks it the same way. For tests only, also those
//! of other crates; never used by the product.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Appender, Listed, Storage};

const SECTOR_BYTES: usize = 512;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Append,
    Sync,
    Read,
    Truncate,
    Rename,
    Remove,
    SyncFolder,
}

/// After `skip` more operations of this kind, `times` of them fail.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub operation: Operation,
    pub skip: u64,
    pub times: u64,
    pub kind: io::ErrorKind,
    /// A failing append still writes this many bytes.
    pub partial_bytes: usize,
}

impl Failure {
    pub fn once(operation: Operation, kind: io::ErrorKind) -> Failure {
        Failure { operation, skip: 0, times: 1, kind, partial_bytes: 0 }
    }
}

/// One folder of the disk; clones and sub-folders share it.
#[derive(Debug, Clone)]
pub struct MemoryStorage {
    disk: Arc<SharedDisk>,
    prefix: String,
}

#[derive(Debug, Default)]
struct SharedDisk {
    disk: Mutex<Disk>,
    gate: Condvar,
}

#[derive(Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Name changes since the last sync of their folder, in order.
    pending: Vec<NameChange>,
    next_inode: u64,
    /// Raised by every restart: writers of an earlier life are dead.
    life: u64,
    changes: u64,
    syncs: u64,
    halt_at: Option<u64>,
    capacity_bytes: Option<u64>,
    syncs_held: bool,
    failures: Vec<Failure>,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable_bytes: usize,
    /// Written once, then lost by a failed sync; the cache still shows them.
    lost: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set { name: String, inode: u64 },
    Unset { name: String },
    Moved { from: String, to: String, inode: u64 },
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            NameChange::Set { name, .. } | NameChange::Unset { name } => name,
            NameChange::Moved { to, .. } => to,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Set { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unset { name } => {
                names.remove(name);
            }
            NameChange::Moved { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl Default for MemoryStorage {
    fn default() -> MemoryStorage {
        MemoryStorage::new()
    }
}

impl MemoryStorage {
    pub fn new() -> MemoryStorage {
        MemoryStorage { disk: Arc::default(), prefix: String::new() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.disk.lock().expect("nobody panics while holding the disk")
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Changing operations so far: the places where a crash can be put.
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Syncs of files that succeeded.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// The machine stops before changing operation number `change` (as counted by [`Self::changes`]).
    pub fn halt_at(&self, change: u64) {
        self.disk().halt_at = Some(change);
    }

    pub fn fail(&self, failure: Failure) {
        self.disk().failures.push(failure);
    }

    /// No more than this many bytes in all files together; appends beyond are cut short with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity_bytes = bytes;
    }

    /// While held, syncs of files wait.
    pub fn hold_syncs(&self, held: bool) {
        self.disk().syncs_held = held;
        self.disk.gate.notify_all();
    }

    /// The process died and comes back: all that was written is there, old writers are dead, faults are over.
    pub fn restart(&self) {
        let mut disk = self.disk();
        disk.life += 1;
        disk.halt_at = None;
        disk.capacity_bytes = None;
        disk.failures.clear();
        disk.syncs_held = false;
        drop(disk);
        self.disk.gate.notify_all();
    }

    /// The power went: what was not synced survives as `seed` decides. Comes back as by [`Self::restart`].
    pub fn power_cut(&self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        self.disk().lose(&mut rng);
        self.restart();
    }

    /// All files by path, with their sizes.
    pub fn files(&self) -> Vec<(String, u64)> {
        let disk = self.disk();
        disk.names.iter().map(|(name, inode)| (name.clone(), disk.inodes[inode].bytes.len() as u64)).collect()
    }

    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(path).map(|inode| disk.inodes[inode].bytes.clone())
    }

    /// Makes or replaces a file, durably.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut disk = self.disk();
        let inode = disk.next_inode;
        disk.next_inode += 1;
        let content = Inode { bytes: bytes.to_vec(), durable_bytes: bytes.len(), lost: Vec::new() };
        disk.inodes.insert(inode, content);
        disk.names.insert(path.to_owned(), inode);
        disk.durable_names.insert(path.to_owned(), inode);
    }

    /// Flips one bit of a file, counted from its start.
    pub fn flip(&self, path: &str, bit: usize) {
        let mut disk = self.disk();
        let inode = disk.inode_of(path).expect("the file is there");
        inode.bytes[bit / 8] ^= 1 << (bit % 8);
    }

    /// A copy that goes its own way, for trying many endings of one history.
    pub fn fork(&self) -> MemoryStorage {
        let copy = MemoryStorage::new();
        for (path, _) in self.files() {
            copy.put(&path, &self.contents(&path).expect("it was listed"));
        }
        copy
    }
}

impl Disk {
    fn lose(&mut self, rng: &mut SmallRng) {
        let survived = if self.pending.is_empty() { 0 } else { rng.random_range(0..=self.pending.len()) };
        for change in &self.pending[..survived] {
            change.apply(&mut self.durable_names);
        }
        self.pending.clear();
        self.names = self.durable_names.clone();
        for inode in self.inodes.values_mut() {
            inode.lose(rng);
        }
    }

    fn is_down(&self) -> bool {
        self.halt_at.is_some_and(|halt| self.changes >= halt)
    }

    /// Counts a changing operation and says whether it may go on.
    fn change(&mut self, operation: Operation, life: u64) -> io::Result<()> {
        if life != self.life || self.is_down() {
            return Err(io::Error::other("the machine is down"));
        }
        self.changes += 1;
        self.injected(operation).map_or(Ok(()), |failure| Err(io::Error::from(failure.kind)))
    }

    fn injected(&mut self, operation: Operation) -> Option<Failure> {
        let failure = self.failures.iter_mut().find(|failure| failure.operation == operation)?;
        if failure.skip > 0 {
            failure.skip -= 1;
            return None;
        }
        let hit = *failure;
        failure.times -= 1;
        if failure.times == 0 {
            self.failures.retain(|failure| failure.operation != operation || failure.times > 0);
        }
        Some(hit)
    }

    fn inode_of(&mut self, path: &str) -> io::Result<&mut Inode> {
        let inode = *self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.inodes.get_mut(&inode).expect("a name has an inode"))
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].bytes.len() as u64).sum()
    }

    fn append(&mut self, inode: u64, life: u64, bytes: &[u8]) -> io::Result<()> {
        let partial = self
            .failures
            .iter()
            .find(|failure| failure.operation == Operation::Append && failure.skip == 0)
            .map_or(0, |failure| failure.partial_bytes.min(bytes.len()));
        let allowed = self.change(Operation::Append, life);
        let mut written = if allowed.is_ok() { bytes.len() } else { partial };
        if life != self.life {
            return allowed;
        }
        let mut result = allowed;
        if let Some(capacity) = self.capacity_bytes {
            let room = usize::try_from(capacity.saturating_sub(self.used_bytes())).unwrap_or(usize::MAX);
            if room < written {
                written = room;
                result = Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        let inode = self.inodes.get_mut(&inode).expect("a writer has an inode");
        inode.bytes.extend_from_slice(&bytes[..written]);
        result
    }
}

impl Inode {
    fn lose(&mut self, rng: &mut SmallRng) {
        for lost in std::mem::take(&mut self.lost) {
            let end = lost.end.min(self.bytes.len());
            self.bytes[lost.start.min(end)..end].fill(0);
        }
        let durable = self.durable_bytes.min(self.bytes.len());
        let survived = rng.random_range(durable..=self.bytes.len());
        self.bytes.truncate(survived);
        if rng.random_bool(0.5) {
            let mut sector = durable;
            while sector < survived {
                let end = ((sector / SECTOR_BYTES + 1) * SECTOR_BYTES).min(survived);
                if rng.random_bool(0.3) {
                    self.bytes[sector..end].fill(0);
                }
                sector = end;
            }
        }
        self.durable_bytes = survived;
    }

    fn truncate(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
        self.durable_bytes = self.bytes.len();
        self.lost.retain_mut(|lost| {
            lost.end = lost.end.min(bytes);
            lost.start < lost.end
        });
    }
}

impl Storage for MemoryStorage {
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(MemoryStorage { disk: Arc::clone(&self.disk), prefix: self.path(name) + "/" }))
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let listed = |(path, bytes): (String, u64)| {
            let name = path.strip_prefix(&self.prefix)?;
            (!name.contains('/')).then(|| Listed { name: name.to_owned(), bytes })
        };
        Ok(self.files().into_iter().filter_map(listed).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>> {
        let path = self.path(name);
        let mut disk = self.disk();
        let life = disk.life;
        disk.change(Operation::Create, life)?;
        if disk.names.contains_key(&path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let inode = disk.next_inode;
        disk.next_inode += 1;
        disk.inodes.insert(inode, Inode::default());
        disk.names.insert(path.clone(), inode);
        disk.pending.push(NameChange::Set { name: path, inode });
        Ok(Box::new(MemoryAppender { disk: Arc::clone(&self.disk), inode, life }))
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        if let Some(failure) = disk.injected(Operation::Read) {
            return Err(io::Error::from(failure.kind));
        }
        let bytes = &disk.inode_of(&self.path(name))?.bytes;
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let length = into.len().min(bytes.len() - from);
        into[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let life = disk.life;
        disk.change(Operation::Truncate, life)?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        disk.inode_of(&self.path(name))?.truncate(bytes);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        let (inode, life) = {
            let mut disk = self.disk();
            disk.inode_of(&path)?;
            (disk.names[&path], disk.life)
        };
        MemoryAppender { disk: Arc::clone(&self.disk), inode, life }.sync()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        let mut disk = self.disk();
        let life = disk.life;
        disk.change(Operation::Rename, life)?;
        let inode = *disk.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Moved { from, to, inode };
        change.apply(&mut disk.names);
        disk.pending.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = self.path(name);
        let mut disk = self.disk();
        if !disk.names.contains_key(&name) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let life = disk.life;
        disk.change(Operation::Remove, life)?;
        disk.names.remove(&name);
        disk.pending.push(NameChange::Unset { name });
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.disk();
        let life = disk.life;
        disk.change(Operation::SyncFolder, life)?;
        let here = |name: &str| name.strip_prefix(&self.prefix).is_some_and(|name| !name.contains('/'));
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut disk.pending).into_iter().partition(|change| here(change.name()));
        disk.pending = others;
        for change in mine {
            change.apply(&mut disk.durable_names);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryAppender {
    disk: Arc<SharedDisk>,
    inode: u64,
    life: u64,
}

impl MemoryAppender {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.disk.lock().expect("nobody panics while holding the disk")
    }
}

impl Appender for MemoryAppender {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk().append(self.inode, self.life, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let held = self.disk();
        let mut disk = self
            .disk
            .gate
            .wait_while(held, |disk| disk.syncs_held && disk.life == self.life)
            .expect("nobody panics while holding the disk");
        let result = disk.change(Operation::Sync, self.life);
        let lost = disk.life == self.life && !disk.is_down();
        let inode = disk.inodes.get_mut(&self.inode).expect("a writer has an inode");
        if result.is_ok() {
            inode.durable_bytes = inode.bytes.len();
            disk.syncs += 1;
        } else if lost {
            let unsynced = inode.durable_bytes..inode.bytes.len();
            if !unsynced.is_empty() {
                inode.lost.push(unsynced);
            }
        }
        result
    }
}

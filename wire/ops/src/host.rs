//! What this machine calls itself.

/// The host's name; empty where the kernel does not tell it.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

//! Seeds for pure rooms, which never draw from the system themselves.

/// A seed from the operating system.
pub fn seed() -> u64 {
    getrandom::u64().expect("the kernel has random numbers")
}

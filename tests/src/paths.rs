//! Where things are: the programs under test, the servers that `tests/run` fetched, the folder for what is left behind.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the checkout").to_path_buf()
}

/// `target/`, from where this executable lies: `target/<profile>/deps/e2e-…`.
pub fn target() -> PathBuf {
    profile_dir().parent().expect("a profile's folder lies in target").to_path_buf()
}

fn profile_dir() -> PathBuf {
    let me = std::env::current_exe().expect("a process has an executable");
    me.ancestors().nth(2).expect("a test lies in target/<profile>/deps").to_path_buf()
}

/// A program of the workspace, built in the same profile as this test.
///
/// # Panics
/// When it is not built: `tests/run build` does that.
pub fn program(name: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(path.is_file(), "{} is not built: run `tests/run build` first", path.display());
    path
}

/// What `tests/run prepare` put under `target/servers`, `target/node`, `target/venv`.
///
/// # Panics
/// When it is not there.
pub fn prepared(name: &str) -> PathBuf {
    let path = target().join(name);
    assert!(path.exists(), "{} is not there: run `tests/run prepare` first", path.display());
    path
}

/// Logs of failed tests and pictures are kept here.
pub fn kept() -> PathBuf {
    let path = target().join("tests");
    std::fs::create_dir_all(&path).expect("target can be written");
    path
}

/// A folder for one system under test, under `target/tests/scratch`: gone with its handle, and in any case at the next
/// `tests/run`.
///
/// # Panics
/// When target cannot be written.
pub fn scratch(prefix: &str) -> tempfile::TempDir {
    let place = kept().join("scratch");
    std::fs::create_dir_all(&place).expect("target can be written");
    tempfile::Builder::new().prefix(prefix).tempdir_in(place).expect("target can be written")
}

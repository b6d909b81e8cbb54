//! A key that something is sealed with, where the settings name none: drawn at the first start, kept in the data folder for
//! its owner alone. It is in no backup, like every secret. Called by `node` for one-use codes and for links in mails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub const KEY_BYTES: usize = 32;

/// Written beside its place first: half a key is none.
pub fn load_or_draw(file: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match fs::read(file) {
        Ok(key) => {
            if let Ok(key) = <[u8; KEY_BYTES]>::try_from(key.as_slice()) {
                return Ok(key);
            }
            let why = format!("{} has {} bytes and not {KEY_BYTES}", file.display(), key.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).expect("the kernel has random numbers");
    let making = file.with_extension("making");
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&making)?;
    made.write_all(&key)?;
    made.sync_all()?;
    fs::rename(&making, file)?;
    // What is sealed with it must not outlive it.
    let folder = file.parent().expect("a key lies in the data folder");
    File::open(folder)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_drawn_once_for_its_owner_alone_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("otp.key");
        let key = load_or_draw(&file).expect("it is drawn");
        assert_eq!(load_or_draw(&file).expect("it is read"), key);
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        fs::write(&file, b"short").expect("a file");
        load_or_draw(&file).expect_err("five bytes");
    }
}

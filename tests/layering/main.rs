//! Promises about the house itself: who may import whom, who may be unsafe, which rooms are pure, how big a file may
//! be. Each rule is data in one table here; `source` reads the files. Run by `tests/run layering`.
#![forbid(unsafe_code)]

mod imports;
mod rooms;
mod shape;
mod source;

//! Several gateways and a router as processes, thousands of clients of the load tester on them, and one that dies (or all).
//! Small versions of what `tests/campaign crash` measures at full size.
#![forbid(unsafe_code)]

mod everybody;
mod killing;
mod limits;
mod spread;
mod survivors;

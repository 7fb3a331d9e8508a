//! All that is proved on real Kubernetes API servers, as one program: its tests take turns on the machine, and none waits for the
//! last of another program.

// A helper that fails is a test that fails; the lints know tests by their attribute only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod charts;
mod faults;
mod operator;
mod placement;
mod promises;

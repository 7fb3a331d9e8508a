//! Attacks on real processes: what a hub, an author of placements or a hostile spoke tries, and what comes of it.
//!
//! One file per kind of attack. Threats T1 to T7 of docs/secure.md name these tests.

mod admission_policy;
mod author;
mod budgets;
mod children;
mod credentials;
mod data;
mod deletions;
mod epoch;
mod hostile_spoke;
mod identity;
mod limits;
mod names;
mod overrides;
mod process;

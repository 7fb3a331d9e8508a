//! What both processes of nimfleet are made of. Nothing here knows a hub, a spoke or a kind of Kubernetes.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`queue`] | work by key: one deadline per key, back-off of failures, isolation of panics |
//! | [`panics`] | a panic as a value: message and place, counted and logged once |
//! | [`tasks`] | named tasks that may end only when they are asked to |
//! | [`health`] | `/livez` from progress, `/readyz` with the name of what is missing |
//! | [`identity`] | a process by pod and number, so that one that is started again knows the one before it |
//! | [`listen`] | ports, whatever address families a node has |
//! | [`logs`] | what is logged, and in which form |
//! | [`check`] | what `helm test` asks from outside |
//! | [`admin`] | the admin port, on a thread of its own so that it answers while the process is stuck |

pub mod admin;
pub mod check;
pub mod health;
pub mod identity;
pub mod listen;
pub mod logs;
pub mod panics;
pub mod queue;
pub mod tasks;

pub use health::Health;
pub use identity::Identity;
pub use logs::LogFormat;
pub use panics::Panic;
pub use queue::{Broken, Ending, Queue};
pub use tasks::{Ended, Endings, Tasks};

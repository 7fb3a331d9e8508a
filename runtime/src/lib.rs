//! What both processes of nimfleet are made of. Nothing here knows a hub, a spoke or a kind of Kubernetes.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`queue`] | work by key: one deadline per key, back-off of failures, isolation of panics |
//! | [`panics`] | a panic as a value: message and place, counted and logged once |
//! | [`tasks`] | named tasks that may end only when they are asked to |
//! | [`health`] | `/livez` from progress, `/readyz` with the name of what is missing |
//! | [`lease`] | one process at a time: a Lease, and a fence that every write asks |
//! | [`identity`] | a process by pod and number, so that one that is started again knows the one before it |
//! | [`cluster`] | where the API server of the process's cluster is |
//! | [`call`] | calls to an API server: a time limit, and what a failure means |
//! | [`watch`] | watches that do not end, and copies of what they see that tell what was there before |
//! | [`backoff`] | how long to wait after failures |
//! | [`events`] | Kubernetes events that an API server takes |
//! | [`error`] | an error with its causes in one line |
//! | [`shutdown`] | how a process is asked to end |
//! | [`listen`] | ports, whatever address families a node has |
//! | [`logs`] | what is logged, and in which form |
//! | [`plain_http`] | one request without TLS |
//! | [`check`] | what `helm test` asks from outside |
//! | [`admin`] | the admin port, on a thread of its own so that it answers while the process is stuck |

pub mod admin;
pub mod backoff;
pub mod call;
pub mod check;
pub mod cluster;
pub mod error;
pub mod events;
pub mod health;
pub mod identity;
pub mod lease;
pub mod listen;
pub mod logs;
pub mod panics;
pub mod plain_http;
pub mod queue;
pub mod shutdown;
pub mod tasks;
pub mod watch;

pub use call::CallError;
pub use error::chain;
pub use health::Health;
pub use identity::Identity;
pub use logs::LogFormat;
pub use panics::Panic;
pub use queue::{Broken, Ending, Queue};
pub use tasks::{Ended, Endings, Tasks};

//! The engine that runs every kind of NIM object.
//!
//! Desired objects are a pure function of the object, what it points at and facts of the cluster. One shell observes,
//! renders, applies and reports; a kind plugs in by the trait [`kind::Kind`]. Everything is driven by watches: in steady
//! state nothing is written and nothing is asked.

mod age;
pub(crate) mod apply;
pub(crate) mod call;
pub(crate) mod canonical;
pub(crate) mod child;
pub(crate) mod condition;
pub(crate) mod contested;
pub(crate) mod decide;
pub(crate) mod events;
mod fresh;
pub(crate) mod judge;
pub(crate) mod kind;
pub(crate) mod mutations;
pub(crate) mod optional;
pub(crate) mod origin;
pub(crate) mod own;
pub(crate) mod pace;
mod packed;
pub(crate) mod pod_security;
pub(crate) mod requires;
pub(crate) mod retry;
pub(crate) mod served;
pub(crate) mod shell;
pub(crate) mod take_over;
pub(crate) mod template;
mod turns;
pub(crate) mod wake;
pub(crate) mod watch;
pub(crate) mod world;

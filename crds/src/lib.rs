//! The kinds that users write: NIM objects as NVIDIA defines them, and the fleet's own.

#![allow(unreachable_pub, reason = "KubeSchema derives a copy of each struct inside a function")]

mod absent_spec;
pub mod compare;
pub mod condition;
pub mod fleet;
pub mod gpu_product;
pub mod marks;
pub mod names;
pub mod nemo;
pub mod nim;
pub mod policy;
pub mod quantity;
pub mod schema;
pub mod taints;

pub use schema::all;

//! One placement: its assignments and how they are stored, what clusters deny it, and what its objects take in each cluster.

pub mod assignments;
pub mod delivery;
pub mod denials;
pub mod gang;
pub mod grants;
pub mod plan;
pub mod selection;
pub mod slices;
pub mod variants;

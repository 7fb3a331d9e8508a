//! Placement by what clusters have and people allow, on real API servers.

mod admission;
mod gangs;
mod moves;
mod nodes;
mod not_starting;
mod pipelines;
mod query;
mod quota;
mod shapes;
mod shares;
mod spill;
mod truth;

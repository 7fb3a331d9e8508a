//! The spoke as a NIM operator, one promise per module, each proved on a real Kubernetes API server.

mod drift;
mod gitops;
mod late;
mod many;
mod nemo;
mod not_starting;
mod optional_parts;
mod platforms;
mod requests;
mod restored;
mod scale_to_zero;
mod service;
mod switching;
mod take_over;
mod templates;

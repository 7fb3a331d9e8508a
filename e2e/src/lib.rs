//! Real Kubernetes control planes, and the fleet on top of them, for tests and the demo.
//!
//! ```text
//! controlplane   builds etcd, kube-apiserver, … once per machine, or finds them on it
//! progress       tells how far a build is
//! process        starts a program that dies with us, however we die
//! cluster        one Kubernetes cluster on loopback: API server, controllers, scheduler, kwok as every kubelet
//! fleet          a hub and its spokes, as real processes, on real clusters
//! nemo           NVIDIA's NeMo stack, and what its users bring
//! node           a real node with kubelet and containers, for charts and images
//! site           one cluster with a spoke that is a NIM operator alone
//! images         container images of hub and spoke, made without a container engine
//! foreign        LeaderWorkerSet and KServe as they are released, or played
//! simulation     hubs and spokes without clusters, sockets or clocks, through seeded faults
//! ```

mod cargo;
pub mod cluster;
pub mod command;
pub mod controlplane;
pub mod failure;
pub mod fault_proxy;
pub mod fleet;
pub mod foreign;
pub mod images;
pub mod mirror;
pub mod nemo;
pub mod node;
pub mod objects;
pub mod patience;
pub mod port;
pub mod process;
mod progress;
pub mod sample;
pub mod simulation;
pub mod site;
pub mod soak;
pub mod take_over;

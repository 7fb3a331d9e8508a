//! What the fleet does when networks, machines, hubs and backups fail: each fault on real API servers and real sockets.

mod failover;
mod leadership;
mod network;
mod restore;
mod watching;

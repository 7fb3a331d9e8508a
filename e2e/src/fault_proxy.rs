//! A TCP proxy on loopback that treats its connections as bad networks and middleboxes do.
//!
//! ```text
//! let proxy = FaultProxy::start(any, hub).await?;               // passes on to one address
//! let proxy = FaultProxy::connect_proxy(any, Some("me:secret")).await?;   // HTTP CONNECT, as HTTPS_PROXY names it
//! proxy.set(Network::HalfOpen);                                  // accepts, and never forwards a byte
//! ```

mod connect;
mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Connections that wait to be accepted, at most; as many as of a listener of tokio.
const BACKLOG: u32 = 1024;

/// What the network between the two ends does. A change holds for open connections and new ones alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It works.
    Whole,
    /// Everything takes so much longer, each way.
    Latency(Duration),
    /// Connections are accepted and stay, and nothing is ever forwarded: a firewall that forgot its state, a machine that hangs.
    HalfOpen,
    /// So many bytes a second pass, each way.
    Rate(u32),
    /// A connection that is silent for this long is closed, as load balancers and NAT gateways do.
    IdleAfter(Duration),
    /// Every connection breaks, and new ones are refused.
    Cut,
}

/// Where connections go.
#[derive(Debug, Clone)]
enum Route {
    /// To these addresses, in turn.
    To(Vec<SocketAddr>),
    /// Where the client's CONNECT says, if it brings these credentials (`user:password`).
    Connect { credentials: Option<String> },
}

/// A proxy that can be told what its network does. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// Whether the proxy listens, which it does some moments after it was told to.
    listening: watch::Receiver<bool>,
    opened: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens at `address` for connections to `target`.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        Self::start_among(address, vec![target]).await
    }

    /// Listens at `address` and passes connections on to `targets` in turn, as a Service does; one that does not listen
    /// costs the client its attempt.
    pub async fn start_among(address: SocketAddr, targets: Vec<SocketAddr>) -> io::Result<Self> {
        Self::listen(address, Route::To(targets)).await
    }

    /// Listens at `address` as an HTTP proxy that knows CONNECT alone; with `credentials` (`user:password`) it wants them
    /// as basic authentication and answers 407 without.
    pub async fn connect_proxy(address: SocketAddr, credentials: Option<&str>) -> io::Result<Self> {
        Self::listen(address, Route::Connect { credentials: credentials.map(str::to_owned) }).await
    }

    async fn listen(address: SocketAddr, route: Route) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::Whole);
        let (tell, listening) = watch::channel(true);
        let opened = Arc::new(AtomicU64::new(0));
        let door = Door { address, route, network: seen, opened: opened.clone() };
        let task = tokio::spawn(door.run(listener, tell));
        Ok(Self { address, network, listening, opened, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has made to the far side since it started.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Makes the network behave so from now on. Use [`FaultProxy::cut`] and [`FaultProxy::heal`] where the test has to
    /// know that it listens no more, or again.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Breaks every connection and refuses new ones; returns when that is so.
    pub async fn cut(&self) {
        self.settle(Network::Cut, false).await;
    }

    /// Lets everything through again; returns when it listens.
    pub async fn heal(&self) {
        self.settle(Network::Whole, true).await;
    }

    async fn settle(&self, network: Network, listening: bool) {
        self.set(network);
        // The task that listens ends only with the proxy itself.
        let _ = self.listening.clone().wait_for(|now| *now == listening).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The listening side.
struct Door {
    address: SocketAddr,
    route: Route,
    network: watch::Receiver<Network>,
    opened: Arc<AtomicU64>,
}

impl Door {
    async fn run(mut self, listener: TcpListener, listening: watch::Sender<bool>) {
        let mut listener = Some(listener);
        loop {
            let Some(open) = listener.take() else {
                // A cut network: the port is kept and nobody listens on it, so that a connection is refused as by a machine
                // without the service, and no other process takes the port meanwhile.
                let Ok(kept) = bound(self.address) else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                listening.send_replace(false);
                if self.network.wait_for(|now| *now != Network::Cut).await.is_err() {
                    return;
                }
                listener = kept.listen(BACKLOG).ok();
                continue;
            };
            listening.send_replace(true);
            let (mut connections, seen, mut turn) = (JoinSet::new(), self.network.clone(), 0_usize);
            loop {
                tokio::select! {
                    changed = self.network.wait_for(|now| *now == Network::Cut) => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    accepted = open.accept() => {
                        if let Ok((near, _)) = accepted {
                            turn = turn.wrapping_add(1);
                            let (route, seen) = (self.route.clone(), seen.clone());
                            connections.spawn(pass(near, route, turn, seen, self.opened.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
            drop(open);
            connections.shutdown().await;
        }
    }
}

/// A socket that has the port and does not listen.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// One connection, from its first byte to its last. However it ends, it ends for both sides.
async fn pass(
    mut near: TcpStream,
    route: Route,
    turn: usize,
    mut network: watch::Receiver<Network>,
    opened: Arc<AtomicU64>,
) {
    // Of a connection that is made while nothing is forwarded the far side hears when that is over.
    if network.wait_for(|now| *now != Network::HalfOpen).await.is_err() {
        return;
    }
    let target = match route {
        Route::To(targets) => targets[turn % targets.len()].to_string(),
        Route::Connect { credentials } => match connect::asked(&mut near, credentials.as_deref()).await {
            Ok(target) => target,
            Err(_) => return,
        },
    };
    if let Ok(far) = TcpStream::connect(target).await {
        opened.fetch_add(1, Ordering::Relaxed);
        // A broken connection is what this is for.
        let _ = line::run(near, far, network).await;
    }
}

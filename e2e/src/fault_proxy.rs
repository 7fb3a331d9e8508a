//! A TCP proxy on loopback that can lose the network between its two ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the network between the two ends does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Whole,
    Cut,
}

/// Passes connections on to one address, until it is cut. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    /// Whether the proxy listens, which it does some moments after it was told to.
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens at `address` for connections to `target`.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::Whole);
        let (tell, listening) = watch::channel(true);
        let task = tokio::spawn(run(listener, address, target, seen, tell));
        Ok(Self { address, network: Arc::new(network), listening, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection and refuses new ones; returns when that is so.
    pub async fn cut(&self) {
        self.set(Network::Cut, false).await;
    }

    /// Lets new connections through again; returns when that is so.
    pub async fn heal(&self) {
        self.set(Network::Whole, true).await;
    }

    async fn set(&self, network: Network, listening: bool) {
        self.network.send_replace(network);
        // The task that listens ends only with the proxy itself.
        let _ = self.listening.clone().wait_for(|now| *now == listening).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut network: watch::Receiver<Network>,
    listening: watch::Sender<bool>,
) {
    let mut listener = Some(listener);
    loop {
        let Some(open) = listener.take() else {
            // A cut network: nobody listens, so that a connection is refused as by a machine without the service.
            if network.wait_for(|now| *now == Network::Whole).await.is_err() {
                return;
            }
            match TcpListener::bind(address).await {
                Ok(again) => listener = Some(again),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
            continue;
        };
        listening.send_replace(true);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = network.wait_for(|now| *now == Network::Cut) => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                accepted = open.accept() => {
                    if let Ok((near, _)) = accepted {
                        connections.spawn(pass(near, target));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(open);
        connections.shutdown().await;
        listening.send_replace(false);
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        // However it ends, it ends for both.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn talks(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.is_ok()
            && stream.read_exact(&mut answer).await.is_ok()
            && &answer == b"ping"
    }

    #[tokio::test]
    async fn a_cut_breaks_and_refuses_and_heals() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = FaultProxy::start(any, echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
        proxy.cut().await;
        assert!(!talks(&mut stream).await);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        proxy.heal().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
        proxy.cut().await;
        proxy.heal().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
    }

    #[tokio::test]
    async fn a_dropped_proxy_closes_what_went_through_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = FaultProxy::start(any, echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
        drop(proxy);
        let mut rest = Vec::new();
        // Closed, politely or not.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}

//! One connection through a bad network: two directions, each of which does what the network does at the moment.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Network;

/// What is read at once, and how many such pieces may be under way in one direction.
const PIECE: usize = 16 * 1024;
const UNDER_WAY: usize = 64;
/// A slow line passes its bytes in so many portions a second, where it has as many.
const PORTIONS: u32 = 10;

/// Bytes, and when they came.
type Piece = (Instant, Vec<u8>);

/// Carries both directions until both have ended, or one breaks.
pub(super) async fn run(
    near: TcpStream,
    far: TcpStream,
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let (moved, last_moved) = watch::channel(Instant::now());
    let both = async {
        tokio::try_join!(
            direction(near_read, far_write, network.clone(), moved.clone()),
            direction(far_read, near_write, network.clone(), moved.clone()),
        )
    };
    tokio::select! {
        ended = both => ended.map(drop),
        () = idle(network.clone(), last_moved) => Ok(()),
    }
}

async fn direction(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    network: watch::Receiver<Network>,
    moved: watch::Sender<Instant>,
) -> io::Result<()> {
    let (pieces, waiting) = mpsc::channel(UNDER_WAY);
    tokio::try_join!(take_in(from, pieces), let_out(to, waiting, network, moved)).map(drop)
}

async fn take_in(mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || pieces.send((Instant::now(), buffer[..count].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn let_out(
    mut to: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Piece>,
    mut network: watch::Receiver<Network>,
    moved: watch::Sender<Instant>,
) -> io::Result<()> {
    while let Some((came, piece)) = waiting.recv().await {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let portion = due(came, rest.len(), &mut network).await?;
            to.write_all(&rest[..portion]).await?;
            moved.send_replace(Instant::now());
            rest = &rest[portion..];
        }
    }
    // An end is news as well: it waits its turn.
    due(Instant::now(), 1, &mut network).await?;
    to.shutdown().await
}

/// Waits until something may pass, and says how many of `length` bytes.
async fn due(came: Instant, length: usize, network: &mut watch::Receiver<Network>) -> io::Result<usize> {
    loop {
        let now = *network.borrow_and_update();
        let wait = match now {
            Network::Whole | Network::IdleAfter(_) => return Ok(length),
            Network::Latency(latency) => (came + latency).saturating_duration_since(Instant::now()),
            Network::Rate(bytes) => {
                Duration::from_secs(1).mul_f64(f64::from(portion(bytes)) / f64::from(bytes.max(1)))
            }
            Network::HalfOpen | Network::Cut => Duration::MAX,
        };
        tokio::select! {
            changed = network.changed() => changed.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?,
            () = sleep(wait) => match now {
                Network::Rate(bytes) => {
                    return Ok(length.min(usize::try_from(portion(bytes)).unwrap_or(usize::MAX)));
                }
                _ => return Ok(length),
            },
        }
    }
}

fn portion(bytes_a_second: u32) -> u32 {
    (bytes_a_second / PORTIONS).max(1)
}

/// Ends when the connection has been silent for longer than the network bears.
async fn idle(mut network: watch::Receiver<Network>, last_moved: watch::Receiver<Instant>) {
    loop {
        let until = match *network.borrow_and_update() {
            Network::IdleAfter(limit) => {
                let until = *last_moved.borrow() + limit;
                if until <= Instant::now() {
                    return;
                }
                Some(until)
            }
            _ => None,
        };
        tokio::select! {
            changed = network.changed() => if changed.is_err() {
                return;
            },
            () = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

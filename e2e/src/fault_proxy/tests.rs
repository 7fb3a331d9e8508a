//! The proxy, talked through to an echo.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;

/// Longer than anything here takes on a busy machine, and never waited for in full unless a test fails.
const LONG: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
const WHILE: Duration = Duration::from_millis(200);

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(any()).await.unwrap();
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

async fn proxied() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(any(), echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(talks(&mut stream).await);
    (proxy, stream)
}

async fn hears(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    matches!(timeout(LONG, stream.read_exact(&mut answer)).await, Ok(Ok(_))) && &answer == b"ping"
}

async fn talks(stream: &mut TcpStream) -> bool {
    stream.write_all(b"ping").await.is_ok() && hears(stream).await
}

#[tokio::test]
async fn a_cut_breaks_and_refuses_and_heals() {
    let (proxy, mut stream) = proxied().await;
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
    assert_eq!(proxy.opened(), 3);
}

#[tokio::test]
async fn a_dropped_proxy_closes_what_went_through_it() {
    let (proxy, mut stream) = proxied().await;
    drop(proxy);
    let mut rest = Vec::new();
    // Closed, politely or not.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn an_end_of_one_side_reaches_the_other() {
    let (_proxy, mut stream) = proxied().await;
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"last");
}

#[tokio::test]
async fn latency_is_added_each_way_and_pieces_do_not_wait_for_each_other() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Network::Latency(Duration::from_millis(50)));
    let begun = Instant::now();
    assert!(talks(&mut stream).await);
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..20 {
        stream.write_all(b"ping").await.unwrap();
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert!(hears(&mut stream).await);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "twenty pieces took {:?}", begun.elapsed());
}

#[tokio::test]
async fn half_open_takes_and_gives_nothing_until_it_heals() {
    let (proxy, mut old) = proxied().await;
    proxy.set(Network::HalfOpen);
    old.write_all(b"ping").await.unwrap();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    new.write_all(b"ping").await.unwrap();
    for stream in [&mut old, &mut new] {
        assert!(timeout(WHILE, stream.read_u8()).await.is_err(), "something came through");
    }
    assert_eq!(proxy.opened(), 1);
    proxy.heal().await;
    assert!(hears(&mut old).await && hears(&mut new).await, "what was held back is lost");
}

#[tokio::test]
async fn a_slow_line_lets_so_many_bytes_a_second_through() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Network::Rate(20));
    stream.write_all(&[7; 100]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut some = [0; 100];
    let count = timeout(LONG, stream.read(&mut some)).await.unwrap().unwrap();
    assert!((1..=30).contains(&count), "{count} bytes in a second");
    proxy.heal().await;
    timeout(LONG, stream.read_exact(&mut some[count..])).await.unwrap().unwrap();
    assert_eq!(some, [7; 100]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Network::IdleAfter(WHILE));
    for _ in 0..8 {
        tokio::time::sleep(WHILE / 4).await;
        assert!(talks(&mut stream).await, "a busy connection was closed");
    }
    assert_eq!(timeout(LONG, stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0, "an idle one was not");
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(talks(&mut stream).await);
}

#[tokio::test]
async fn a_connect_proxy_goes_where_it_is_told_if_it_knows_who_asks() {
    let (proxy, echo) = (FaultProxy::connect_proxy(any(), Some("me:secret")).await.unwrap(), echo().await);
    let asked = |credentials: &'static str| {
        let address = proxy.address();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n{credentials}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            timeout(LONG, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            (String::from_utf8_lossy(&answer).into_owned(), stream)
        }
    };
    assert_eq!(asked("").await.0, "HTTP/1.1 407");
    assert_eq!(proxy.opened(), 0);
    let (answer, mut stream) = asked("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n").await;
    assert_eq!(answer, "HTTP/1.1 200");
    let mut head = vec![0; b" Connection established\r\n\r\n".len()];
    stream.read_exact(&mut head).await.unwrap();
    assert!(talks(&mut stream).await);
    assert_eq!(proxy.opened(), 1);
}

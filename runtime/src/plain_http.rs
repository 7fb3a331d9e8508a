//! One request to a server that speaks HTTP without TLS, such as an admin port.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status line and headers.
    pub head: String,
    /// What follows them.
    pub body: String,
}

impl Answer {
    /// Whether it is a 200.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.head.split(' ').nth(1) == Some("200")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n\r\n{}", self.head, self.body)
    }
}

/// Sends one request, and reads `most` bytes of the answer at most. May be dropped at any wait; it waits for as long as the
/// server does.
///
/// # Errors
///
/// The connection failed, or what was answered is not text.
pub async fn ask(
    server: impl ToSocketAddrs,
    method: &str,
    path: &str,
    body: &str,
    most: u64,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    // HTTP/1.0: the answer ends with the connection, and is never in chunks.
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(most).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(Answer { head: head.to_owned(), body: body.to_owned() })
}

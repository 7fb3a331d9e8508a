//! The head of an HTTP CONNECT: where a client wants to go, and whether it may.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head that is read, bytes.
const LONGEST_HEAD: usize = 8192;

/// Reads the client's head and answers it; gives back `host:port`.
pub(super) async fn asked(near: &mut TcpStream, credentials: Option<&str>) -> io::Result<String> {
    let head = head(near).await?;
    let target = match judge(&head, credentials) {
        Ok(target) => target.to_owned(),
        Err(answer) => {
            near.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
            near.shutdown().await?;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, answer));
        }
    };
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    Ok(target)
}

/// Byte by byte, so that nothing of what follows the head is taken.
async fn head(near: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(near.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The target, or the answer of one who does not go there.
fn judge<'a>(head: &'a str, credentials: Option<&str>) -> Result<&'a str, &'static str> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some("CONNECT"), Some(target)) = (first.next(), first.next()) else {
        return Err("405 Method Not Allowed\r\nAllow: CONNECT");
    };
    let Some(credentials) = credentials else { return Ok(target) };
    let wanted = BASE64_STANDARD.encode(credentials);
    let brought = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("proxy-authorization")
            && value
                .trim()
                .split_once(' ')
                .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("basic") && given.trim() == wanted)
    });
    if brought {
        Ok(target)
    } else {
        Err("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"e2e\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_go_where() {
        let head = |more: &str| format!("CONNECT hub:7443 HTTP/1.1\r\nHost: hub:7443\r\n{more}\r\n");
        let secret = Some("me:secret");
        let table = [
            ("open", head(""), None, Ok("hub:7443")),
            ("right", head("proxy-authorization: basic bWU6c2VjcmV0\r\n"), secret, Ok("hub:7443")),
            ("wrong", head("Proxy-Authorization: Basic bWU6d3Jvbmc=\r\n"), secret, Err("407")),
            ("none", head(""), secret, Err("407")),
            ("no tunnel", "GET / HTTP/1.1\r\n\r\n".to_owned(), None, Err("405")),
        ];
        for (case, head, credentials, expected) in table {
            let judged = judge(&head, credentials).map_err(|answer| &answer[..3]);
            assert_eq!(judged, expected, "{case}");
        }
    }
}

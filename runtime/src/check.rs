//! Asks a program from outside whether it can be used: what `helm test` runs, in an image that has nothing but the program.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::plain_http::ask;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The most of an answer that is read, bytes.
const MOST: u64 = 16 * 1024;

/// Succeeds once `/readyz` at `address` (`host:port`) answers 200, within `patience`.
///
/// # Errors
///
/// What it answered last, or why nothing did.
pub async fn ready(address: &str, patience: Duration) -> Result<(), String> {
    within(patience, async || {
        let asked = timeout(ATTEMPT, ask(address, "GET", "/readyz", "", MOST)).await;
        let answer = asked.map_err(|_| late())?.map_err(|error| error.to_string())?;
        if answer.is_ok() { Ok(()) } else { Err(answer.body.trim().replace('\n', "; ")) }
    })
    .await
    .map_err(|problem| format!("{address} is not ready: {problem}"))
}

/// Succeeds once `times` connections in a row to `address` (`host:port`) are accepted, within `patience`: behind a Service, none
/// of its endpoints refuses.
///
/// # Errors
///
/// Which of them was refused last, and why.
pub async fn accepts(address: &str, times: usize, patience: Duration) -> Result<(), String> {
    within(patience, async || {
        for number in 1..=times {
            let connected = timeout(ATTEMPT, TcpStream::connect(address)).await;
            let refused = match connected {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => late(),
            };
            return Err(format!("connection {number} of {times}: {refused}"));
        }
        Ok(())
    })
    .await
    .map_err(|problem| format!("{address} does not accept connections: {problem}"))
}

fn late() -> String {
    format!("no answer within {} s", ATTEMPT.as_secs())
}

async fn within(patience: Duration, attempt: impl AsyncFn() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Err(_) if begun.elapsed() < patience => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Health, admin};

    #[tokio::test]
    async fn it_waits_until_what_is_missing_is_there_and_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let health = Health::default();
        health.lacks("lease", "held by another");
        let admin = admin::serve(listener, health.clone(), || Ok(String::new())).unwrap();
        let problem = ready(&address, Duration::ZERO).await.unwrap_err();
        assert_eq!(problem, format!("{address} is not ready: missing: lease: held by another"));
        health.has("lease");
        assert_eq!(ready(&address, Duration::ZERO).await, Ok(()));
        assert_eq!(accepts(&address, 3, Duration::ZERO).await, Ok(()));
        admin.stop().await;
        let refused = accepts(&address, 3, Duration::ZERO).await.unwrap_err();
        assert!(refused.contains("connection 1 of 3") && refused.contains("refused"), "{refused}");
        assert!(ready(&address, Duration::ZERO).await.is_err());
    }
}

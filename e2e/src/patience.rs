//! Waiting for what is to come true, and telling why it did not.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// How often something awaited is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks again and again until `check` succeeds and gives back what it found. After `within` it fails with what `check`
/// last said and with the evidence.
pub async fn eventually<T, F, C, E>(
    what: &str,
    within: Duration,
    mut check: F,
    evidence: impl FnOnce() -> E,
) -> Result<T, Failure>
where
    F: FnMut() -> C,
    C: Future<Output = Result<T, Failure>>,
    E: Future<Output = String>,
{
    let until = Instant::now() + within;
    loop {
        match check().await {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() > until => {
                let evidence = evidence().await;
                return Err(Failure::new(format!("not within {within:?}: {what}: {last}\n{evidence}")));
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

//! Waiting for what another process or task does. Nothing here is a bound that a test asserts: only a test that hangs gets to the end of it.

use std::future::pending;
use std::time::Duration;

/// 2 minutes: far more than anything takes, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// 10 milliseconds: lets others run between two looks at something that tells nobody when it changes.
pub async fn breathe() {
    let _ = tokio::time::timeout(Duration::from_millis(10), pending::<()>()).await;
}

/// Looks until there is something to see.
///
/// # Panics
/// When there still is nothing at the end of all patience.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            breathe().await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited in vain until {what}"),
    }
}

//! Waiting for another process or task. The limits here are not assertions: only a test that hangs reaches them.

use std::future::pending;
use std::time::Duration;

/// 2 minutes: far longer than anything should take, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// 10 milliseconds: lets others run between two checks of something that sends no notification when it changes.
pub(crate) async fn breathe() {
    let _ = tokio::time::timeout(Duration::from_millis(10), pending::<()>()).await;
}

/// Repeats a check until it returns a value.
///
/// # Panics
/// Panics if there is still no value after [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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
        Err(_) => panic!("timed out before {what}"),
    }
}

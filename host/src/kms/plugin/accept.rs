//! Accepts connections. Accepting never ends, and connections of other users are refused where no file mode protects the socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;

use super::refusals::{Refusal, Refusals};
use super::wire::Wire;

/// 50 ms: the pause after the system failed to accept a connection, for instance because no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections of a listener. Unlike this stream, a plain listener would end tonic's server at the first error that is not a connection's own.
pub(super) struct Accepted {
    listener: UnixListener,
    /// Whether to check the peer's user, because there is no file whose mode protects the socket.
    own_user_only: bool,
    refusals: Refusals,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Accepted {
    pub(super) fn new(listener: UnixListener, refusals: Refusals) -> Self {
        let has_file = |address: tokio::net::unix::SocketAddr| address.as_pathname().is_some();
        Self {
            own_user_only: !listener.local_addr().is_ok_and(has_file),
            listener,
            refusals,
            pause: None,
        }
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        if !self.own_user_only {
            return true;
        }
        let own = rustix::process::geteuid().as_raw();
        let peer = stream.peer_cred().ok().map(|peer| peer.uid());
        let known = peer.is_some_and(|peer| [own, 0].contains(&peer));
        if !known {
            self.refusals.note(Refusal::stranger(peer));
        }
        known
    }
}

impl Stream for Accepted {
    type Item = io::Result<Wire<UnixStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) if self.admits(&stream) => {
                    #[cfg(test)]
                    crate::simulation::seams::accepted(&stream);
                    return Poll::Ready(Some(Ok(Wire::new(stream, self.refusals.clone()))));
                }
                Ok(_) => {}
                Err(error) => {
                    self.refusals.note(Refusal::accept(&error));
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

//! Connections as they come in: never ends, and lets no stranger in where the socket itself cannot.

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

/// 50 ms: how long to leave the system alone after it refused to accept, as it does when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// A listener's connections. tonic's server would end with the first error that is not a connection's own.
pub(super) struct Accepted {
    listener: UnixListener,
    /// Checked when there is no file whose mode could do it.
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

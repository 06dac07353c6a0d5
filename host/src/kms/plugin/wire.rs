//! The layer between a client's socket and h2. It rewrites an authority that h2 would refuse, and reports to the log what h2 refuses.
//!
//! HTTP/2 is parsed only down to its frames (RFC 9113 §4.1). Payloads go straight into h2's own buffer, so that no plaintext is ever held here. Only
//! header blocks are held, whole and bounded, until [`authority`](super::authority) has checked them.

mod reading;
mod writing;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use self::reading::{Reading, State};
use self::writing::Writing;
use super::refusals::{Refusal, Refusals};

/// The bytes with which each client begins (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// 9 bytes: length[3] ‖ type ‖ flags ‖ stream[4].
const HEAD: usize = 9;

/// 16 KiB: the maximum length of a frame that h2 accepts by default.
const MAX_FRAME: usize = 16 << 10;

/// 128 KiB: how much of one header block is held at most. h2 refuses smaller blocks already, so a larger one needs no rewriting.
const MAX_HELD: usize = 128 << 10;

mod kind {
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
}

mod flag {
    pub(super) const END_STREAM: u8 = 0x1;
    pub(super) const END_HEADERS: u8 = 0x4;
    pub(super) const PADDED: u8 = 0x8;
    pub(super) const PRIORITY: u8 = 0x20;
}

/// One connection; `S` is its socket.
#[derive(Debug)]
pub(super) struct Wire<S> {
    socket: S,
    reading: Reading,
    writing: Writing,
    refusals: Refusals,
}

impl<S> Wire<S> {
    pub(super) fn new(socket: S, refusals: Refusals) -> Self {
        Self { socket, reading: Reading::default(), writing: Writing::default(), refusals }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, reading, refusals, .. } = self.get_mut();
        loop {
            let ready = reading.ready.get(reading.given..).unwrap_or_default();
            if !ready.is_empty() {
                let some = ready.len().min(buf.remaining());
                buf.put_slice(&ready[..some]);
                reading.given += some;
                return Poll::Ready(Ok(()));
            }
            reading.ready = Vec::new();
            reading.given = 0;
            match reading.state {
                State::Preface(seen) => {
                    ready!(reading.poll_preface(socket, cx, seen, refusals))?;
                }
                State::Head(head, have) => ready!(reading.poll_head(socket, cx, head, have))?,
                State::Hold(left, ends) => ready!(reading.poll_held(socket, cx, left, ends))?,
                State::Pass(left) => return reading.poll_passed(socket, cx, left, buf),
                State::Blind => return Pin::new(socket).poll_read(cx, buf),
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, buf))?;
        this.sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let some = buf.len().min(left);
            this.sent(&buf[..some]);
            left -= some;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl<S> Wire<S> {
    fn sent(&mut self, bytes: &[u8]) {
        // If the client does not speak HTTP/2, that is in the log already, and h2's error frames need not be.
        if matches!(self.reading.state, State::Blind) {
            return;
        }
        let (refusals, hopeless) = (&self.refusals, &mut self.reading.hopeless);
        self.writing.follow(bytes, |code| {
            refusals.note(Refusal::protocol(code, std::mem::take(hopeless)));
        });
    }
}

impl<S: Connected> Connected for Wire<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}

#[cfg(test)]
mod tests;

//! The layer between a client's socket and h2. It rewrites an authority that h2 would refuse, and reports to the log what h2 refuses.
//!
//! HTTP/2 is parsed only down to its frames (RFC 9113 §4.1). Payloads go straight into h2's own buffer, so that no plaintext is ever held here. Only
//! header blocks are held, whole and bounded, until [`authority`] has checked them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::authority::{self, Block};
use super::refusals::{Refusal, Refusals};

/// The bytes with which each client begins (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// 9 bytes: length[3] ‖ type ‖ flags ‖ stream[4].
const HEAD: usize = 9;

/// 16 KiB: the maximum length of a frame that h2 accepts by default.
const MAX_FRAME: usize = 16 << 10;

/// 8 bytes: the length of a GOAWAY's payload up to the end of its error code. An RST_STREAM's payload is shorter.
const CODE_END: usize = 8;

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

/// The data that comes from the client.
#[derive(Debug, Default)]
struct Reading {
    state: State,
    /// The frames of a header block as they arrived, until the block is complete.
    held: Vec<u8>,
    /// Bytes that are ready for h2, and how many of them h2 has received.
    ready: Vec<u8>,
    given: usize,
    /// Whether an authority arrived that could not be rewritten.
    hopeless: bool,
}

#[derive(Debug)]
enum State {
    /// This many bytes of the preface have arrived.
    Preface(usize),
    /// Reading the head of a frame.
    Head([u8; HEAD], usize),
    /// This many bytes are left of a payload that is passed on unread.
    Pass(usize),
    /// This many bytes are left of a payload that is held; and whether its frame ends a header block.
    Hold(usize, bool),
    /// The client does not speak HTTP/2.
    Blind,
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

impl Reading {
    /// Reads the rest of the preface, of which `seen` bytes have arrived.
    fn poll_preface<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
        seen: usize,
        refusals: &Refusals,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; PREFACE.len()];
        let came = ready!(read(socket, cx, &mut bytes[seen..]))?;
        let came = &bytes[seen..seen + came];
        self.ready.extend_from_slice(came);
        if came.is_empty() {
            self.state = State::Ended;
        } else if !PREFACE[seen..].starts_with(came) {
            refusals.note(Refusal::not_http2(came, seen));
            self.state = State::Blind;
        } else if seen + came.len() == PREFACE.len() {
            self.state = State::next();
        } else {
            self.state = State::Preface(seen + came.len());
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the rest of the head of a frame, of which `have` bytes have arrived.
    fn poll_head<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
        mut head: [u8; HEAD],
        have: usize,
    ) -> Poll<io::Result<()>> {
        let came = ready!(read(socket, cx, &mut head[have..]))?;
        if came == 0 {
            self.let_go();
            self.ready.extend_from_slice(&head[..have]);
            self.state = State::Ended;
        } else if have + came == HEAD {
            self.head(head);
        } else {
            self.state = State::Head(head, have + came);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a part of a payload that is held, of which `left` bytes are missing.
    fn poll_held<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
        left: usize,
        ends: bool,
    ) -> Poll<io::Result<()>> {
        let begun = self.held.len();
        self.held.resize(begun + left, 0);
        let came = read(socket, cx, &mut self.held[begun..]);
        let some = match &came {
            Poll::Ready(Ok(some)) => *some,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.held.truncate(begun + some);
        if ready!(came)? == 0 {
            self.let_go();
            self.state = State::Ended;
        } else if some == left {
            self.held_frame(ends);
        } else {
            self.state = State::Hold(left - some, ends);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on a part of a payload that is not held, of which `left` bytes are missing. The bytes go straight into h2's buffer.
    fn poll_passed<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
        left: usize,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(left);
        let came = ready!(read(socket, cx, buf.initialize_unfilled_to(most)))?;
        buf.advance(came);
        self.state = match left - came {
            _ if came == 0 => State::Ended,
            left => State::pass(left),
        };
        Poll::Ready(Ok(()))
    }

    /// Processes the head of a frame.
    fn head(&mut self, head: [u8; HEAD]) {
        let [a, b, c, kind, flags, ..] = head;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let goes_on = kind == kind::CONTINUATION && !self.held.is_empty();
        let begins = kind == kind::HEADERS && self.held.is_empty();
        if (begins || goes_on) && len <= MAX_FRAME && self.held.len() + HEAD + len <= MAX_HELD {
            let ends = flags & flag::END_HEADERS != 0;
            self.held.extend_from_slice(&head);
            self.state = State::Hold(len, ends);
            if len == 0 {
                self.held_frame(ends);
            }
            return;
        }
        self.let_go();
        self.ready.extend_from_slice(&head);
        self.state = State::pass(len);
    }

    /// Processes a held frame that is complete.
    fn held_frame(&mut self, ends: bool) {
        self.state = State::next();
        if !ends {
            return;
        }
        let Some(block) = HeaderBlock::parse(&self.held) else {
            self.let_go();
            return;
        };
        match authority::fit(&block.fields) {
            Block::AsItIs => self.let_go(),
            Block::Hopeless => {
                self.hopeless = true;
                self.let_go();
            }
            Block::Changed(fields) => {
                block.write(&fields, &mut self.ready);
                self.held = Vec::new();
            }
        }
    }

    /// Passes the held frames on unchanged.
    fn let_go(&mut self) {
        // Take the buffer, so that it does not stay as large as the largest block.
        let held = std::mem::take(&mut self.held);
        self.ready.extend_from_slice(&held);
    }
}

impl State {
    fn next() -> Self {
        Self::Head([0; HEAD], 0)
    }

    fn pass(left: usize) -> Self {
        if left == 0 { Self::next() } else { Self::Pass(left) }
    }
}

/// A header block, which may have arrived in several frames.
#[derive(Debug)]
struct HeaderBlock {
    flags: u8,
    stream: [u8; 4],
    priority: Vec<u8>,
    fields: Vec<u8>,
}

impl HeaderBlock {
    /// Returns `None` if the frames are malformed.
    fn parse(mut frames: &[u8]) -> Option<Self> {
        let mut block: Option<Self> = None;
        while let Some(([a, b, c, _, flags, stream @ ..], rest)) =
            frames.split_first_chunk::<HEAD>()
        {
            let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let (mut payload, rest) = rest.split_at_checked(len)?;
            frames = rest;
            if let Some(block) = &mut block {
                if block.stream != *stream {
                    return None;
                }
                block.fields.extend_from_slice(payload);
            } else {
                if flags & flag::PADDED != 0 {
                    let (padding, padded) = payload.split_first()?;
                    let end = padded.len().checked_sub(usize::from(*padding))?;
                    payload = padded.get(..end)?;
                }
                let priority = if flags & flag::PRIORITY != 0 { 5 } else { 0 };
                let (priority, fields) = payload.split_at_checked(priority)?;
                block = Some(Self {
                    flags: flags & (flag::END_STREAM | flag::PRIORITY),
                    stream: *stream,
                    priority: priority.to_vec(),
                    fields: fields.to_vec(),
                });
            }
        }
        block
    }

    /// Writes the block with other fields, in as many frames as necessary.
    fn write(&self, fields: &[u8], out: &mut Vec<u8>) {
        let (mut fragment, mut rest) =
            fields.split_at(fields.len().min(MAX_FRAME - self.priority.len()));
        let (mut kind, mut flags, mut priority) = (kind::HEADERS, self.flags, &*self.priority);
        loop {
            if rest.is_empty() {
                flags |= flag::END_HEADERS;
            }
            let len = priority.len() + fragment.len();
            out.extend_from_slice(&[(len >> 16) as u8, (len >> 8) as u8, len as u8, kind, flags]);
            out.extend_from_slice(&self.stream);
            out.extend_from_slice(priority);
            out.extend_from_slice(fragment);
            if rest.is_empty() {
                return;
            }
            (fragment, rest) = rest.split_at(rest.len().min(MAX_FRAME));
            (kind, flags, priority) = (kind::CONTINUATION, 0, &[]);
        }
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

fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    ready!(Pin::new(socket).poll_read(cx, &mut into))?;
    Poll::Ready(Ok(into.filled().len()))
}

/// The data that goes to the client. It is not changed.
#[derive(Debug, Default)]
struct Writing {
    /// The head of a frame, and the beginning of its payload up to the error code.
    frame: [u8; HEAD + CODE_END],
    have: usize,
    /// The number of bytes of the payload that are still to be written.
    left: usize,
}

impl Writing {
    /// Processes bytes that were written. Calls `refused` with the error code of each RST_STREAM and GOAWAY.
    fn follow(&mut self, mut bytes: &[u8], mut refused: impl FnMut(u32)) {
        while !bytes.is_empty() {
            if self.have < HEAD {
                let some = bytes.len().min(HEAD - self.have);
                self.frame[self.have..self.have + some].copy_from_slice(&bytes[..some]);
                self.have += some;
                bytes = &bytes[some..];
                if self.have == HEAD {
                    let [a, b, c, ..] = self.frame;
                    self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                }
            } else {
                let some = bytes.len().min(self.left);
                let kept = some.min(self.frame.len() - self.have);
                self.frame[self.have..self.have + kept].copy_from_slice(&bytes[..kept]);
                self.have += kept;
                self.left -= some;
                bytes = &bytes[some..];
            }
            if self.have >= HEAD && self.left == 0 {
                let payload = &self.frame[HEAD..self.have];
                let code = match self.frame[3] {
                    kind::RST_STREAM => payload.first_chunk(),
                    kind::GOAWAY => payload.last_chunk().filter(|_| payload.len() == CODE_END),
                    _ => None,
                };
                if let Some(code) = code {
                    refused(u32::from_be_bytes(*code));
                }
                self.have = 0;
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

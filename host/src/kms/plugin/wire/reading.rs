//! What comes from the client, parsed down to its frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::{HEAD, MAX_FRAME, MAX_HELD, PREFACE, flag, kind};
use crate::kms::plugin::authority::{self, Block};
use crate::kms::plugin::refusals::{Refusal, Refusals};

/// The data that comes from the client.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) state: State,
    /// The frames of a header block as they arrived, until the block is complete.
    pub(super) held: Vec<u8>,
    /// Bytes that are ready for h2, and how many of them h2 has received.
    pub(super) ready: Vec<u8>,
    pub(super) given: usize,
    /// Whether an authority arrived that could not be rewritten.
    pub(super) hopeless: bool,
}

#[derive(Debug)]
pub(super) enum State {
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
    pub(super) fn poll_preface<S: AsyncRead + Unpin>(
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
    pub(super) fn poll_head<S: AsyncRead + Unpin>(
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
    pub(super) fn poll_held<S: AsyncRead + Unpin>(
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
    pub(super) fn poll_passed<S: AsyncRead + Unpin>(
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

fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    ready!(Pin::new(socket).poll_read(cx, &mut into))?;
    Poll::Ready(Ok(into.filled().len()))
}

//! The output of `etcdctl -w protobuf`: RangeResponse, WatchResponse or TxnResponse, any number of them.
//!
//! The messages follow each other without a separator, which protobuf reads as one message. Upstream: etcdctl, printer_protobuf.go;
//! api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto.

use alloc::vec::Vec;

use crate::context::{Candidate, Context, Machine};
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::kubernetes::{Varint, varint};

const FORM: Option<Form> = Some(Form::EtcdctlProtobuf);
const MALFORMED: FaultKind = FaultKind::Syntax("not protobuf of etcd");
/// Used bytes are removed from the buffer when there are this many.
const COMPACT_AT: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Protobuf {
    buffer: Vec<u8>,
    start: usize,
}

/// A field of a message.
pub(crate) enum Field<'b> {
    Number(u64, u64),
    Bytes(u64, &'b [u8]),
}

enum Next<'b> {
    Field(Field<'b>, &'b [u8]),
    More,
    /// A field that is longer than the limit.
    TooLong,
    Malformed,
}

/// Reads a field of at most `limit` bytes.
fn next(bytes: &[u8], limit: usize) -> Next<'_> {
    let (tag, rest) = match varint(bytes) {
        Varint::Value(tag, rest) => (tag, rest),
        Varint::More => return Next::More,
        Varint::Invalid => return Next::Malformed,
    };
    let (value, rest) = match varint(rest) {
        Varint::Value(value, rest) => (value, rest),
        Varint::More => return Next::More,
        Varint::Invalid => return Next::Malformed,
    };
    match tag & 7 {
        0 => Next::Field(Field::Number(tag >> 3, value), rest),
        2 => {
            let Some(len) = usize::try_from(value).ok().filter(|len| *len <= limit) else {
                return Next::TooLong;
            };
            match rest.split_at_checked(len) {
                Some((bytes, rest)) => Next::Field(Field::Bytes(tag >> 3, bytes), rest),
                None => Next::More,
            }
        }
        _ => Next::Malformed,
    }
}

/// Calls `each` with the fields of a whole message. Returns `None` if it is malformed.
pub(crate) fn fields<'b>(
    mut message: &'b [u8],
    each: &mut dyn FnMut(Field<'b>) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let Next::Field(field, rest) = next(message, usize::MAX) else {
            return None;
        };
        each(field)?;
        message = rest;
    }
    Some(())
}

/// Whether the bytes are whole fields of a message, of every kind that protobuf has today.
pub(crate) fn is_message(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Varint::Value(tag, rest) = varint(bytes) else { return false };
        let (len, rest) = match (tag & 7, varint(rest)) {
            (0, Varint::Value(_, rest)) => (0, rest),
            (1, _) => (8, rest),
            (2, Varint::Value(len, rest)) => (len, rest),
            (5, _) => (4, rest),
            _ => return false,
        };
        let Some(rest) = usize::try_from(len).ok().and_then(|len| rest.get(len..)) else {
            return false;
        };
        bytes = rest;
    }
    true
}

/// Whether `bytes` begin with the header of an answer of etcd: `0a <len>`, then up to four numbers.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let Some((10, rest)) = bytes.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return false;
    };
    let Some((len, rest)) = rest.split_first() else { return false };
    let Some(header) = rest.get(..usize::from(*len)).filter(|_| *len < 64) else {
        return false;
    };
    let mut before = 0;
    *len > 0
        && fields(header, &mut |field| match field {
            Field::Number(number, _) if number > before && number <= 4 => {
                before = number;
                Some(())
            }
            _ => None,
        })
        .is_some()
}

impl Protobuf {
    fn run(&mut self, context: &mut Context) {
        while !context.stopped() {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let limit = context.limits.value.saturating_add(context.limits.key).saturating_add(64);
            match next(rest, limit) {
                Next::Field(field, after) => {
                    let len = rest.len() - after.len();
                    if top(&field, context).is_none() {
                        context.stop(context.here(), FORM, MALFORMED);
                    }
                    context.advance(rest.get(..len).unwrap_or_default());
                    self.start += len;
                }
                Next::More => break,
                Next::TooLong => {
                    let limit = context.limits.value;
                    context.stop(context.here(), FORM, FaultKind::TooLong { limit });
                }
                Next::Malformed => context.stop(context.here(), FORM, MALFORMED),
            }
        }
        if self.start >= COMPACT_AT || self.start == self.buffer.len() {
            self.buffer.drain(..self.start.min(self.buffer.len()));
            self.start = 0;
        }
    }
}

/// Reads a field of an answer. A header, a pair (`kvs`, `prev_kv`), an event, or the answer to an operation of a transaction.
fn top(field: &Field<'_>, context: &mut Context) -> Option<()> {
    match field {
        Field::Number(number, _) if (2..=7).contains(number) => Some(()),
        Field::Bytes(1, header) => fields(header, &mut |field| match field {
            Field::Number(..) => Some(()),
            Field::Bytes(..) => None,
        }),
        Field::Bytes(2, pair) => key_value(pair, false, context),
        Field::Bytes(3, operation) => fields(operation, &mut |field| match field {
            // ResponseOp: range, put, delete_range.
            Field::Bytes(1 | 2, answer) => fields(answer, &mut |field| match field {
                Field::Bytes(2, pair) => key_value(pair, false, context),
                _ => Some(()),
            }),
            Field::Bytes(3, answer) => fields(answer, &mut |field| match field {
                Field::Bytes(3, pair) => key_value(pair, false, context),
                _ => Some(()),
            }),
            _ => None,
        }),
        // WatchResponse: cancel_reason.
        Field::Bytes(6, reason) => (!Guard::finds(reason)).then_some(()),
        Field::Bytes(11, event) => fields(event, &mut |field| match field {
            Field::Number(1, _) => Some(()),
            Field::Bytes(2 | 3, pair) => key_value(pair, true, context),
            _ => None,
        }),
        _ => None,
    }
}

fn key_value(message: &[u8], event: bool, context: &mut Context) -> Option<()> {
    let mut key: Option<&[u8]> = None;
    let mut value: &[u8] = &[];
    let mut revision = None;
    fields(message, &mut |field| {
        match field {
            Field::Bytes(1, bytes) => key = Some(bytes),
            Field::Bytes(5, bytes) => value = bytes,
            Field::Number(3, number) => revision = Some(number),
            Field::Number(2 | 4 | 6, _) => {}
            _ => return None,
        }
        Some(())
    })?;
    let place = context.here();
    let key = key?;
    if key.len() > context.limits.key {
        context.fault(
            place,
            Form::EtcdctlProtobuf,
            FaultKind::TooLong { limit: context.limits.key },
        );
        return Some(());
    }
    let key = Some(key.to_vec());
    if !value.is_empty() {
        let candidate = Candidate::new(Form::EtcdctlProtobuf, place, value.to_vec());
        context.offer(Candidate { key, revision, exact: true, ..candidate });
    } else if !event {
        // The event of a deletion has no value.
        context.give(Err(Fault { key, ..Fault::new(place, FORM, FaultKind::NoValue) }));
    }
    Some(())
}

impl Machine for Protobuf {
    fn push(&mut self, piece: &[u8], context: &mut Context) {
        self.buffer.extend_from_slice(piece);
        self.run(context);
    }

    fn finish(&mut self, context: &mut Context) {
        self.run(context);
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        // A line end was added.
        if !context.stopped() && !matches!(rest, [] | [b'\n'] | [b'\r', b'\n']) {
            context.stop(context.here(), FORM, FaultKind::CutShort);
        }
    }
}

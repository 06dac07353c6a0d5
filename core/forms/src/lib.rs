//! Reads stored values in the forms in which people hold them.
//!
//! A value from etcd rarely arrives as raw bytes. It arrives as what `etcdctl`, `jq`, `hexdump`, `psql` or a terminal printed. This crate finds the
//! values in such an input, without any key and without any I/O.
//!
//! ```
//! use dekker_forms::{Content, Form, Limits, Reader};
//!
//! let mut reader = Reader::new(Limits::default());
//! let mut input: &[u8] = br#"{"header":{"revision":7},"kvs":[{"key":"L3JlZ2lzdHJ5L3NlY3JldHMvYS9i","mod_revision":5,"value":"azhzOmVuYzphZXNjYmM6djE6azo="}]}"#;
//! // Nothing yet: the reader waits for more bytes before it chooses a form.
//! assert!(reader.push(&mut input).is_none());
//! let entry = reader.finish().unwrap().unwrap();
//! assert_eq!(entry.key.as_deref(), Some(&b"/registry/secrets/a/b"[..]));
//! assert_eq!(entry.revision, Some(5));
//! assert_eq!(entry.bytes, b"k8s:enc:aescbc:v1:k:");
//! assert_eq!((entry.form, entry.content), (Form::EtcdctlJson, Content::Encrypted));
//! assert!(reader.finish().is_none());
//! ```
//!
//! # How it works
//! [`Reader::push`] takes bytes and returns one [`Item`] at a time: an [`Entry`], or a [`Fault`] that names the place, the form that the input
//! resembles, and the command that gives a better input. How the input is split into pushes does not matter.
//!
//! 1. The reader holds back the first [`HEAD`] bytes (or the whole input, if it is shorter) and chooses the form by them. A byte order mark, a
//!    prompt or a code fence before the first value is skipped.
//! 2. The form's machine reads the input from its first byte. Machines of text work line by line; JSON, protobuf and raw values are read in pieces.
//! 3. What a dump, hex, base64 or UTF-16 decodes to is read by a reader inside the reader, up to three deep. So `etcdctl get | hexdump -C` yields
//!    the key too.
//! 4. Every value passes one gate before it is returned, whatever its form.
//!
//! # The gate
//! A value is returned as plaintext only if it is known to be plaintext. That is: it begins as Kubernetes' protobuf or CBOR does, or it is a JSON
//! object with `apiVersion` and `kind`. Other values are plaintext only under a key that is not below Kubernetes' prefixes, and only if the form states
//! the exact bounds of both (JSON, protobuf and fields of etcdctl). And it contains `k8s:enc:` nowhere: not as text, UTF-16, hex (in bytes, 16-bit or
//! 32-bit words) or base64. Anything else is a [`Fault`].
//!
//! An encrypted value that tools took for text is a [`Fault`] too: see [`FaultKind::Mangled`], [`FaultKind::Replaced`] and
//! [`FaultKind::PrintedAsText`].
//!
//! # Limits
//! Time is linear in the input. Memory is bounded by [`Limits::value`]: one value, its text, and a few kilobytes. There is no limit on the input.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod context;
mod detect;
mod digits;
mod dump;
mod entry;
mod fault;
mod fields;
mod form;
mod gate;
mod guard;
mod json;
mod key_name;
mod kubernetes;
mod lines;
mod nested;
mod plain;
mod prefix;
mod protobuf;
mod reader;
mod readings;
mod resource;
mod rows;
mod text;
mod utf16;

pub use crate::entry::{Content, Entry, LineEnd, Place};
pub use crate::fault::{Fault, FaultKind, FileKind};
pub use crate::form::Form;
pub use crate::prefix::{KeyName, Provider, Stored, split};
pub use crate::reader::{HEAD, Item, Limits, Reader, read_all};
pub use crate::resource::{Misnamed, Resource, misnamed, resource};

/// The prefix of every encrypted value.
pub const ENCRYPTED_PREFIX: &[u8] = b"k8s:enc:";
/// The first bytes of every Kubernetes object in protobuf.
pub const PROTOBUF_PREFIX: &[u8] = b"k8s\0";

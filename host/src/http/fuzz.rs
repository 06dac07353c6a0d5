//! Fuzz targets for queries and bodies.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};

use super::admission::Admission;
use super::body::{BodyError, read};
use super::listen::{Limits, Registry};
use super::query::{go_pairs, location, unescape};
use crate::fuzz::{Frames, block_on};
use crate::model::Location;

/// Parses the input as a query, and encodes a location that is built from the input as a query and parses it back.
///
/// # Panics
/// Panics if a property does not hold.
pub(crate) fn query(input: &[u8]) {
    let (resource, key) = input.split_at(input.len() / 3);
    if let Ok(resource) = str::from_utf8(resource)
        && !resource.is_empty()
    {
        let at = Location { resource: resource.to_owned(), key: key.to_vec() };
        assert_eq!(location(&written(&at)), Ok(at), "another location");
    }
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match location(text) {
        Ok(at) => {
            assert!(!at.resource.is_empty() && !at.key.is_empty());
            assert!(at.resource.len() + at.key.len() <= text.len());
            assert_eq!(location(&written(&at)).as_ref(), Ok(&at), "another one");
        }
        Err(error) => assert!(error.to_string().contains("parameter"), "{error}"),
    }
    let pairs = go_pairs(text);
    assert!(pairs.len() <= text.split('&').count());
    let held = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
    assert!(pairs.iter().map(held).sum::<usize>() <= text.len());
    for (name, value) in &pairs {
        let again = format!("{}={}", escaped(name), escaped(value));
        let pair = (name.clone(), value.clone());
        assert_eq!(go_pairs(&again), [pair], "another pair");
    }
    for plus_is_space in [false, true] {
        if let Some(bytes) = unescape(input, plus_is_space) {
            let again = unescape(escaped(&bytes).as_bytes(), plus_is_space);
            assert_eq!(again, Some(bytes), "other bytes");
        }
    }
}

/// Percent-encodes each byte that is not a letter or a digit, with upper-case or lower-case digits.
fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(*byte).to_string(),
        byte if byte & 1 == 0 => format!("%{byte:02x}"),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(escape).collect()
}

fn written(at: &Location) -> String {
    let (resource, key) = (escaped(at.resource.as_bytes()), escaped(&at.key));
    format!("resource={resource}&key={key}")
}

/// Seeds of every kind of query.
pub(crate) fn query_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "resource=secrets&key=/registry/secrets/default/token",
        "key=%2Fa%20+b&resource=deployments.apps",
        "resource=secrets",
        "resource=a&resource=b&key=c",
        "resource=%ff&key=%",
        "verbose&exclude=kms-provider-0&exclude=a%3bb;c&x=%zz",
        "",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// Reads a body. The input defines the limit, the announced length, and frames of any length.
///
/// # Panics
/// Panics if a property does not hold.
pub(crate) fn body(input: &[u8]) {
    let [limit, announced, how, rest @ ..] = input else {
        return;
    };
    let limit = usize::from(*limit) * 16;
    let (mut frames, mut rest) = (VecDeque::new(), rest);
    while let [len, after @ ..] = rest {
        let (frame, after) = after.split_at(usize::from(*len).min(after.len()));
        // Some frames are long, to check that never more than the limit is kept.
        let times = if how & 2 == 0 { 1 } else { 64 };
        frames.push_back(Bytes::from(frame.repeat(times)));
        rest = after;
    }
    let whole: Vec<u8> = frames.iter().flatten().copied().collect();
    let announced = match how & 1 {
        0 => None,
        _ if how & 4 == 0 => Some(whole.len() as u64),
        _ => Some(u64::from(*announced).pow(8)),
    };
    let too_long = whole.len() > limit || announced.is_some_and(|len| len > limit as u64);
    let body = Body::new(Frames { data: frames, announced, trailers: None });
    let limits = Limits::default();
    let admission = Admission::new(&limits, Registry::new(&limits));
    let read = block_on(async {
        let mut place = admission.request().await.expect("a place");
        read(body, limit, Duration::from_secs(30), &mut place).await
    });
    match read {
        Ok(read) => {
            assert!(!too_long, "longer than the limit");
            assert_eq!(*read, whole, "another body");
        }
        Err(error) => {
            assert_eq!(error, BodyError::TooLarge(limit));
            assert!(too_long, "it is not too long");
        }
    }
}

/// Seeds of bodies below, at and above their limit.
pub(crate) fn body_seeds() -> Vec<Vec<u8>> {
    let frames = |head: [u8; 3], lens: &[u8]| {
        let mut input = head.to_vec();
        for len in lens {
            input.push(*len);
            input.extend(std::iter::repeat_n(*len, usize::from(*len)));
        }
        input
    };
    vec![
        frames([0, 0, 0], &[]),
        frames([1, 0, 0], &[1]),
        frames([1, 0, 0], &[8, 8]),
        frames([1, 0, 1], &[8, 8, 1]),
        frames([255, 0, 3], &[40, 0, 23]),
        frames([255, 2, 5], &[10]),
        frames([4, 200, 5], &[10]),
    ]
}

use std::collections::VecDeque;

use axum::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::kms::plugin::authority;

/// Dice with a random seed, which is printed, or with the seed in `DEKKER_SEED`.
struct Dice(fastrand::Rng);

impl Dice {
    fn new() -> Self {
        let seed = match std::env::var("DEKKER_SEED") {
            Ok(seed) => seed.parse().expect("DEKKER_SEED is a number"),
            Err(_) => fastrand::u64(..),
        };
        println!("DEKKER_SEED={seed}");
        Self(fastrand::Rng::with_seed(seed))
    }

    fn roll(&mut self, below: usize) -> usize {
        self.0.usize(..below)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.0.u8(..)).collect()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes a string of fewer than 127 bytes without Huffman coding.
fn string(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// Returns a header block: `:method: POST`, `:scheme: http`, `:path: /`, then the authority.
fn request(authority: &[u8]) -> Vec<u8> {
    [&[0x83, 0x86, 0x84, 0x41][..], &string(authority)].concat()
}

/// Sends the input in random pieces and ends. Returns what comes out.
async fn through(dice: &mut Dice, input: &[u8]) -> Vec<u8> {
    let (mut client, server) = duplex(1 << 10);
    let mut wire = Wire::new(server, Refusals::default());
    let pieces: Vec<usize> = (0..64).map(|_| 1 + dice.roll(200)).collect();
    let send = async {
        let (mut rest, mut pieces) = (input, pieces.iter().cycle());
        while !rest.is_empty() {
            let piece = rest.len().min(*pieces.next().unwrap());
            client.write_all(&rest[..piece]).await.unwrap();
            rest = &rest[piece..];
        }
        drop(client);
    };
    let receive = async {
        let mut all = Vec::new();
        let mut some = vec![0; 1 + dice.roll(300)];
        loop {
            let came = wire.read(&mut some).await.unwrap();
            let held = wire.reading.held.len() + wire.reading.ready.len();
            assert!(held <= 2 * MAX_HELD + HEAD, "{held} bytes are held");
            all.extend_from_slice(&some[..came]);
            if came == 0 {
                return all;
            }
        }
    };
    tokio::join!(send, receive).1
}

#[tokio::test]
async fn input_that_needs_no_change_passes_byte_for_byte() {
    let mut dice = Dice::new();
    for _ in 0..200 {
        let mut input = PREFACE.to_vec();
        for _ in 0..dice.roll(12) {
            let (flags, stream) = (dice.roll(256) as u8, dice.roll(1 << 31) as u32);
            input.extend(match dice.roll(4) {
                0 => {
                    let block = request(b"localhost");
                    let cut = dice.roll(block.len());
                    let end = flag::END_HEADERS | flag::END_STREAM;
                    match dice.roll(4) {
                        0 => frame(kind::HEADERS, end, stream, &block),
                        1 => [
                            frame(kind::HEADERS, flag::END_STREAM, stream, &block[..cut]),
                            frame(kind::CONTINUATION, flag::END_HEADERS, stream, &block[cut..]),
                        ]
                        .concat(),
                        2 => {
                            let padded = [&[3], &*block, &[0; 3]].concat();
                            frame(kind::HEADERS, end | flag::PADDED, stream, &padded)
                        }
                        _ => {
                            // The padding is longer than the frame.
                            let padded = [&[255], &*block].concat();
                            frame(kind::HEADERS, end | flag::PADDED, stream, &padded)
                        }
                    }
                }
                1 => {
                    let len = dice.roll(40_000);
                    frame(0, flags, stream, &dice.bytes(len))
                }
                2 => {
                    // Too long for one frame, so it is not held.
                    frame(kind::HEADERS, flags, stream, &vec![0x80; MAX_FRAME + 1])
                }
                _ => {
                    let kind = dice.pick(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 200]);
                    let len = dice.roll(50);
                    frame(kind, flags, stream, &dice.bytes(len))
                }
            });
        }
        // The last frame may be cut off.
        input.truncate(input.len() - dice.roll(20).min(input.len() - 1));
        let output = through(&mut dice, &input).await;
        assert!(output == input);
    }
}

#[tokio::test]
async fn arbitrary_bytes_cause_no_panic_and_buffering_is_bounded() {
    let mut dice = Dice::new();
    for _ in 0..300 {
        let mut input = if dice.roll(4) == 0 { vec![] } else { PREFACE.to_vec() };
        for _ in 0..dice.roll(30) {
            let len = dice.pick(&[0, 1, 5, 6, 40, 300, MAX_FRAME]);
            let mut payload = dice.bytes(len);
            // Makes some payloads look like header blocks.
            if dice.roll(2) == 0 && payload.len() > 2 {
                payload[0] = dice.pick(&[0x00, 0x01, 0x10, 0x11, 0x40, 0x41, 0x3f, 0x7f, 0xff]);
                payload[1] = dice.pick(&[0x00, 0x01, 0x05, 0x7f, 0x80, 0x83, 0xff]);
            }
            let kind = dice.pick(&[kind::HEADERS, kind::CONTINUATION, kind::CONTINUATION, 0, 7]);
            let flags = dice.pick(&[0, 0, 1, 4, 5, 8, 0x20, 0x2d]);
            input.extend(frame(kind, flags, 1, &payload));
        }
        if dice.roll(2) == 0 {
            let len = dice.roll(100);
            input.extend(dice.bytes(len));
        }
        through(&mut dice, &input).await;
    }
}

#[tokio::test]
async fn a_flood_of_continuations_is_not_buffered() {
    let mut input = PREFACE.to_vec();
    input.extend(frame(kind::HEADERS, 0, 1, &request(b"/run/kms.sock")));
    for _ in 0..200_000 {
        input.extend(frame(kind::CONTINUATION, 0, 1, &[]));
    }
    let output = through(&mut Dice::new(), &input).await;
    assert!(output == input, "beyond the bound, it passes through unchanged");
}

#[tokio::test]
async fn a_block_in_several_frames_is_rewritten() {
    let mut dice = Dice::new();
    let unfit = request(b"/run/kms.sock");
    let fit = request(b"-run-kms.sock");
    let mut padded = vec![4];
    // A dependency and a weight (RFC 9113 §6.2).
    padded.extend([0, 0, 0, 3, 7]);
    padded.extend(&unfit[..6]);
    padded.extend([0; 4]);
    let flags = flag::PADDED | flag::PRIORITY | flag::END_STREAM;
    let mut input = PREFACE.to_vec();
    input.extend(frame(kind::HEADERS, flags, 5, &padded));
    input.extend(frame(kind::CONTINUATION, 0, 5, &unfit[6..9]));
    input.extend(frame(kind::CONTINUATION, 0, 5, &[]));
    input.extend(frame(kind::CONTINUATION, flag::END_HEADERS, 5, &unfit[9..]));
    let data = frame(0, flag::END_STREAM, 5, b"/run/kms.sock");
    input.extend(&data);

    let mut want = PREFACE.to_vec();
    let flags = flag::PRIORITY | flag::END_STREAM | flag::END_HEADERS;
    want.extend(frame(kind::HEADERS, flags, 5, &[&[0, 0, 0, 3, 7], &*fit].concat()));
    want.extend(data);
    assert_eq!(through(&mut dice, &input).await, want);
}

#[tokio::test]
async fn a_block_that_outgrows_a_frame_continues_in_another() {
    // `/` takes six bits in Huffman code; its replacement `-` takes a whole byte without Huffman coding.
    let long = vec![b'/'; 4 * MAX_FRAME];
    let coded = authority::encode(&long);
    let mut unfit = vec![0x83, 0x41];
    let mut rest = coded.len() - 0x7f;
    unfit.push(0xff);
    while rest >= 0x80 {
        unfit.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    unfit.push(rest as u8);
    unfit.extend(coded);
    let mut input = PREFACE.to_vec();
    let mut parts = unfit.chunks(MAX_FRAME).peekable();
    let mut kind = kind::HEADERS;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { 0 } else { flag::END_HEADERS };
        input.extend(frame(kind, flags, 1, part));
        kind = kind::CONTINUATION;
    }
    let output = through(&mut Dice::new(), &input).await;
    let mut frames = &output[PREFACE.len()..];
    let mut kinds = Vec::new();
    let mut block = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<HEAD>() {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        assert!(len <= MAX_FRAME);
        kinds.push((head[3], head[4]));
        block.extend_from_slice(&rest[..len]);
        frames = &rest[len..];
    }
    assert_eq!(kinds[0], (kind::HEADERS, 0));
    assert_eq!(*kinds.last().unwrap(), (kind::CONTINUATION, flag::END_HEADERS));
    assert!(block.ends_with(&vec![b'-'; long.len()]));
}

/// The client's table of the fields that it has sent (RFC 7541 §2.3.2), newest first.
#[derive(Default)]
struct Table(VecDeque<(Vec<u8>, Vec<u8>)>);

impl Table {
    fn index(&self, name: &[u8], value: &[u8]) -> Option<u8> {
        let at = self.0.iter().position(|(n, v)| n == name && v == value)?;
        u8::try_from(62 + at).ok().filter(|index| *index < 127)
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push_front((name.to_vec(), value.to_vec()));
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 32;
        while self.0.iter().map(size).sum::<usize>() > 4096 {
            self.0.pop_back();
        }
    }

    /// Encodes a field: by its index if there is an entry, otherwise as a literal that adds one.
    fn field(&mut self, static_name: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
        if let Some(index) = self.index(name, value) {
            return vec![0x80 | index];
        }
        self.add(name, value);
        [&[0x40 | static_name], &*string(value)].concat()
    }
}

/// h2 decodes the blocks of a client whose table entries come and go. An entry of another size would result in a wrong field, or in none.
#[tokio::test]
async fn the_header_tables_of_the_client_and_of_h2_agree() {
    let mut dice = Dice::new();
    let (client, server) = duplex(1 << 16);
    let requests = 600;
    let mut table = Table::default();
    let mut input = PREFACE.to_vec();
    input.extend(frame(4, 0, 0, &[]));
    let mut want = Vec::new();
    let authorities = [
        ("/run/kms.sock", "-run-kms.sock"),
        ("tmp%2Fkms.sock", "tmp-2Fkms.sock"),
        ("localhost", "localhost"),
        ("/var/lib/a b/\u{e9}/kms.sock", "-var-lib-a-b----kms.sock"),
        ("host:8080", "host:8080"),
    ];
    for n in 0..requests {
        let (authority, host) = dice.pick(&authorities);
        let path = format!("/{}", "p".repeat(dice.roll(110)));
        let mut block = vec![0x83, 0x86];
        block.extend(table.field(1, b":authority", authority.as_bytes()));
        block.extend(table.field(4, b":path", path.as_bytes()));
        let flags = flag::END_HEADERS | flag::END_STREAM;
        input.extend(frame(kind::HEADERS, flags, 2 * n + 1, &block));
        want.push((host.to_owned(), path));
    }
    let (mut read, mut write) = tokio::io::split(client);
    // The connection stays open: h2 drops requests that it has not returned yet when the connection ends.
    let send = async { write.write_all(&input).await.unwrap() };
    let drain = async {
        read.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let serve = async {
        let wire = Wire::new(server, Refusals::default());
        let mut h2 = h2::server::Builder::new()
            .max_concurrent_streams(requests)
            .handshake::<Wire<DuplexStream>, Bytes>(wire)
            .await
            .unwrap();
        let mut seen = Vec::new();
        while seen.len() < requests as usize {
            let (request, mut respond) = h2.accept().await.unwrap().unwrap();
            let uri = request.uri();
            seen.push((uri.authority().unwrap().to_string(), uri.path().to_owned()));
            respond.send_response(axum::http::Response::new(()), true).unwrap();
        }
        seen
    };
    let ((), (), seen) = tokio::join!(send, drain, serve);
    let differ = seen.iter().zip(&want).find(|(seen, want)| seen != want);
    assert_eq!(differ, None);
}

#[test]
fn error_codes_are_found_in_output_split_anywhere() {
    let mut sent = Vec::new();
    sent.extend(frame(4, 0, 0, &[0; 12]));
    sent.extend(frame(4, 1, 0, &[]));
    sent.extend(frame(kind::RST_STREAM, 0, 1, &1u32.to_be_bytes()));
    sent.extend(frame(0, 0, 3, &[7; 5000]));
    let goaway = [&3u32.to_be_bytes()[..], &11u32.to_be_bytes(), b"too_many_pings"].concat();
    sent.extend(frame(kind::GOAWAY, 0, 0, &goaway));
    // Frames of invalid length are ignored.
    sent.extend(frame(kind::RST_STREAM, 0, 1, &[1]));
    sent.extend(frame(kind::GOAWAY, 0, 0, &[1, 2, 3]));
    sent.extend(frame(kind::RST_STREAM, 0, 5, &7u32.to_be_bytes()));
    for piece in [1, 2, 3, 7, 9, 10, 100, sent.len()] {
        let mut writing = Writing::default();
        let mut codes = Vec::new();
        for bytes in sent.chunks(piece) {
            writing.follow(bytes, |code| codes.push(code));
        }
        assert_eq!(codes, [1, 11, 7], "in pieces of {piece}");
    }
}

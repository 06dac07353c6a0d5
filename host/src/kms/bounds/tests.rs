use http_body_util::BodyExt;
use tonic::Code;

use super::*;

/// A body made of these pieces.
struct Pieces(Vec<Vec<u8>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.0.remove(0).into()))))
    }
}

fn message(format: u8, len: usize, content: usize) -> Vec<u8> {
    let mut message = vec![format];
    message.extend((len as u32).to_be_bytes());
    message.resize(PREFIX + content, 7);
    message
}

fn body(bytes: &[u8], piece: usize, encoding: &str, large: &LargeMessages) -> OneMessage<Pieces> {
    let pieces = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
    let encoding = Some(encoding.to_owned());
    OneMessage::new(Pieces(pieces), Reader::Client, encoding, large.clone())
}

#[tokio::test]
async fn a_message_within_the_limit_is_read_in_pieces_of_any_size() {
    for len in [0, 1, LARGE, LARGE + 1, MAX_MESSAGE] {
        for piece in [3, 4096] {
            let sent = message(0, len, len);
            let body = body(&sent, piece.max(len / 100), "", &LargeMessages::default());
            let all = body.collect().await.unwrap().to_bytes();
            assert!(all == sent, "{len}");
        }
    }
}

#[tokio::test]
async fn errors_match_grpc_go() {
    let two = [message(0, 3, 3), message(0, 3, 3)].concat();
    let table = [
        (
            "over the limit",
            message(0, MAX_MESSAGE + 1, 0),
            "",
            Code::ResourceExhausted,
            "grpc: received message larger than max (4194305 vs. 4194304)",
        ),
        (
            "compressed, without an encoding",
            message(1, 3, 3),
            "",
            Code::Internal,
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            "compressed",
            message(1, 3, 3),
            "gzip",
            Code::Internal,
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
        ),
        (
            "no format",
            message(9, 3, 3),
            "gzip",
            Code::Internal,
            "grpc: received unexpected payload format 9",
        ),
        (
            "two",
            two,
            "",
            Code::Internal,
            "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message",
        ),
    ];
    for (desc, sent, encoding, code, text) in table {
        let body = body(&sent, 2, encoding, &LargeMessages::default());
        let error = body.collect().await.unwrap_err();
        let status = error.downcast_ref::<Status>().unwrap();
        assert_eq!((status.code(), status.message()), (code, text), "{desc}");
    }
}

#[tokio::test]
async fn the_number_of_large_messages_read_at_once_is_limited() {
    let large = LargeMessages::default();
    let sent = message(0, LARGE + 1, LARGE + 1);
    let mut reading: Vec<_> = (0..5).map(|_| body(&sent, 100, "", &large)).collect();
    for body in &mut reading[..4] {
        body.frame().await.unwrap().unwrap();
    }
    let error = reading.pop().unwrap().collect().await.unwrap_err();
    let status = error.downcast_ref::<Status>().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    // Other messages are read as before, and a finished one makes room.
    let small = message(0, LARGE, LARGE);
    body(&small, 4096, "", &large).collect().await.unwrap();
    reading.pop();
    body(&sent, 4096, "", &large).collect().await.unwrap();
}

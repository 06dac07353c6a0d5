//! Values that no reader can find again in what a tool prints.

/// The bytes in a line of the forms that wrap: `od` and others, `xxd -p`, `base64`, and `base64 -w 77`, of which each fourth line begins with a whole byte.
const LINES: [usize; 4] = [16, 30, 57, 231];

/// Changes a value that does not come back, because a part of it looks like something else where it stands:
///
/// - in etcdctl's plain output, a line of the value may look like a prompt, and its line ends like a terminal's;
/// - in wrapped hex or base64, a line may begin as another value or a key does.
///
/// The first happens to random bytes once in many millions of values, the second once in 10⁹ at most. Random bytes of which many are line ends, or which
/// contain heads of values, do it often.
pub(crate) fn avoid(value: &mut Vec<u8>) {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r');
    for at in 0..value.len() {
        let next: Vec<u8> = value.iter().skip(at).take(7).copied().collect();
        if let [b'\n', line @ ..] = &next[..]
            && line.len() >= 6
            && line.iter().all(is_text)
        {
            value[at + 1] = 0x80;
        }
        let begins_line = at > 0 && LINES.iter().any(|len| at.is_multiple_of(*len));
        if begins_line && matches!(next[..], [b'k', b'8', b's', ..] | [b'/' | b'{', ..]) {
            value[at] = 0x80;
        }
    }
    if value.ends_with(b"\r") || value.ends_with(b"\r\n") {
        value.push(0x80);
    }
}

//! Values that no reader can find again in plain output.

/// Changes a value that etcdctl's plain output does not keep: a line of it may look like a prompt, and its line ends like a terminal's. That happens to
/// random bytes once in many millions of values; random bytes of which many are line ends do it often.
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
    }
    if value.ends_with(b"\r") || value.ends_with(b"\r\n") {
        value.push(0x80);
    }
}

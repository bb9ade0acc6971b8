//! Frames of a `WebSocket` (RFC 6455, section 5), the client's side. PURE.
//!
//! A library would refuse text that is not UTF-8. A terminal's output is cut anywhere and may be anything, and servers
//! have been seen to send it as text: here text and binary are both bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Longest frame that is read. A terminal's are a few kilobytes.
const MAX_FRAME: usize = 1 << 20;
/// Longest content of a control frame.
const MAX_CONTROL: usize = 125;

/// The bit that says that a mask follows.
const MASKED: u8 = 0x80;
/// Lengths that mean: in the next two bytes, in the next eight.
const TWO_BYTES: u8 = 0x7e;
const EIGHT_BYTES: u8 = 0x7f;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn opcode(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// A frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Part of a message; where messages begin and end means nothing.
    Data(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// An answer, of no interest.
    Pong,
    /// The other side is done.
    Close,
}

/// What is no frame of a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of kind {0}")]
    Kind(u8),
    #[error("a frame of {0} bytes")]
    TooLong(u64),
    #[error("a masked frame, which only clients send")]
    Masked,
    #[error("a frame of an extension")]
    Extension,
}

/// Takes a frame from the front of `buffer`; `None` when more bytes are needed, which are never more than
/// [`MAX_FRAME`] and ten.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some([first, second]) = buffer.first_chunk::<2>().copied() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::Extension);
    }
    if second & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let behind = buffer.get(2..).unwrap_or_default();
    let (head, length) = match second {
        TWO_BYTES => match behind.first_chunk::<2>() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        EIGHT_BYTES => match behind.first_chunk::<8>() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (2, u64::from(length)),
    };
    let (control, opcode) = (first & 8 != 0, first & 15);
    let limit = if control { MAX_CONTROL } else { MAX_FRAME };
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if size > limit {
        return Err(FrameError::TooLong(length));
    }
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(FrameError::Kind(opcode));
    }
    if buffer.len() < head + size {
        return Ok(None);
    }
    buffer.advance(head);
    let content = buffer.split_to(size).freeze();
    Ok(Some(match opcode {
        8 => Frame::Close,
        9 => Frame::Ping(content),
        10 => Frame::Pong,
        _ => Frame::Data(content),
    }))
}

/// Writes a whole message, masked with `mask` as a client's have to be.
pub(super) fn put(out: &mut BytesMut, kind: Kind, content: &[u8], mask: [u8; 4]) {
    out.put_u8(0x80 | kind.opcode());
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(length @ 0..TWO_BYTES), _) => out.put_u8(MASKED | length),
        (_, Ok(length)) => {
            out.put_u8(MASKED | TWO_BYTES);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(MASKED | EIGHT_BYTES);
            out.put_u64(u64::try_from(content.len()).unwrap_or_default());
        }
    }
    out.put_slice(&mask);
    out.extend(
        content
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut buffer, mut frames) = (BytesMut::from(bytes), Vec::new());
        while let Some(frame) = decode(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn frames_of_a_server() {
        let data = |bytes: &[u8]| Frame::Data(Bytes::copy_from_slice(bytes));
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let longer = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; 65536]].concat();
        for (bytes, want) in [
            // The examples of RFC 6455, section 5.7, and text that is not UTF-8.
            (
                &[0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f][..],
                vec![data(b"Hello")],
            ),
            (
                &[1, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f],
                vec![data(b"Hel"), data(b"lo")],
            ),
            (
                &[0x89, 2, b'h', b'i', 0x8a, 0],
                vec![Frame::Ping(Bytes::from_static(b"hi")), Frame::Pong],
            ),
            (&[0x81, 2, 0xff, 0xc3], vec![data(&[0xff, 0xc3])]),
            (&[0x88, 2, 3, 0xe8], vec![Frame::Close]),
            (&long, vec![data(&[7; 256])]),
            (&longer, vec![data(&vec![7; 65536])]),
            (&[0x82, 126, 1], vec![]),
            (&[0x82, 3, 1], vec![]),
        ] {
            assert_eq!(all(bytes).unwrap(), want);
        }
    }

    #[test]
    fn what_no_server_sends_is_refused_at_once() {
        for (bytes, want) in [
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1][..],
                FrameError::TooLong((1 << 20) + 1),
            ),
            (
                &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
                FrameError::TooLong(u64::MAX),
            ),
            (&[0x89, 126, 0, 126], FrameError::TooLong(126)),
            (&[0x82, 0x81], FrameError::Masked),
            (&[0xc2, 0], FrameError::Extension),
            (&[0x83, 0], FrameError::Kind(3)),
        ] {
            assert_eq!(all(bytes), Err(want));
        }
    }

    #[test]
    fn a_client_s_message_is_masked() {
        let mut out = BytesMut::new();
        // The example of RFC 6455, section 5.7.
        put(&mut out, Kind::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            out[..],
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        for (length, head) in [
            (125, &[0x82, 0xfd][..]),
            (126, &[0x82, 0xfe, 0, 126]),
            (70_000, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            out.clear();
            put(&mut out, Kind::Binary, &vec![0; length], [0; 4]);
            assert_eq!(
                (&out[..head.len()], out.len()),
                (head, head.len() + 4 + length)
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = all(&bytes);
        }
    }
}

use proptest::prelude::*;

use super::super::headers::HeaderWriter;
use super::*;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// A client's new stream, byte by byte as the draft has it.
fn syn_stream(
    writer: &mut HeaderWriter,
    stream: u32,
    flags: u8,
    pairs: &[(&str, &str)],
) -> Vec<u8> {
    let block = writer.write(&headers(pairs)).unwrap();
    let mut frame = vec![0x80, 3, 0, 1, flags];
    frame.extend_from_slice(&u32::try_from(block.len() + 10).unwrap().to_be_bytes()[1..]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&block);
    frame
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut buffer, mut frames) = (BytesMut::from(bytes), Vec::new());
    while let Some(frame) = decoder.decode(&mut buffer)? {
        frames.push(frame);
    }
    assert!(buffer.is_empty(), "{buffer:?} is left");
    Ok(frames)
}

/// A conversation with every kind of frame.
fn conversation() -> Vec<u8> {
    let mut writer = HeaderWriter::new().unwrap();
    let mut bytes = syn_stream(&mut writer, 1, 0, &[("streamtype", "error")]);
    bytes.extend(syn_stream(
        &mut writer,
        3,
        1,
        &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
    ));
    let mut out = BytesMut::new();
    put_data(&mut out, 3, b"hello", false);
    put_data(&mut out, 3, b"", true);
    let block = writer.write(&headers(&[("more", "1")])).unwrap();
    control(&mut out, kind::HEADERS, FIN, &[3], &block);
    let block = writer.write(&headers(&[])).unwrap();
    put_syn_reply(&mut out, 3, &block);
    control(&mut out, 4, 0, &[1, 4, 100], &[]);
    control(&mut out, 9, 0, &[3, 65536], &[]);
    put_ping(&mut out, 7);
    put_reset(&mut out, 3, reset::CANCEL);
    put_goaway(&mut out, 0, 0);
    bytes.extend_from_slice(&out);
    bytes
}

#[test]
fn frames_are_read_as_the_draft_has_them() {
    let want = [
        Frame::SynStream {
            stream: 1,
            fin: false,
            headers: headers(&[("streamtype", "error")]),
        },
        Frame::SynStream {
            stream: 3,
            fin: true,
            headers: headers(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]),
        },
        Frame::Data {
            stream: 3,
            bytes: Bytes::from_static(b"hello"),
            fin: false,
        },
        Frame::Data {
            stream: 3,
            bytes: Bytes::new(),
            fin: true,
        },
        Frame::Headers {
            stream: 3,
            fin: true,
        },
        Frame::SynReply {
            stream: 3,
            fin: false,
            headers: headers(&[]),
        },
        Frame::Ping(7),
        Frame::Reset {
            stream: 3,
            status: reset::CANCEL,
        },
        Frame::GoAway,
    ];
    let bytes = conversation();
    assert_eq!(decode(&mut Decoder::default(), &bytes).unwrap(), want);
    // Byte by byte, data comes in parts.
    assert_eq!(decode_all(&bytes, 1), Ok(want.len() + 4));
}

#[test]
fn written_frames_have_the_draft_s_bytes() {
    let mut out = BytesMut::new();
    put_reset(&mut out, 5, reset::REFUSED_STREAM);
    assert_eq!(out[..], [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 3]);
    out.clear();
    put_ping(&mut out, 2);
    assert_eq!(out[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]);
    out.clear();
    put_goaway(&mut out, 9, 1);
    assert_eq!(out[..], [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 1]);
    out.clear();
    put_syn_reply(&mut out, 5, b"block");
    assert_eq!(out[..12], [0x80, 3, 0, 2, 0, 0, 0, 9, 0, 0, 0, 5]);
    out.clear();
    put_data(&mut out, 5, b"ab", true);
    assert_eq!(out[..], [0, 0, 0, 5, 1, 0, 0, 2, b'a', b'b']);
}

#[test]
fn long_data_is_cut_and_only_the_last_part_ends_the_stream() {
    let bytes = vec![7; MAX_DATA + 1];
    let mut out = BytesMut::new();
    put_data(&mut out, 1, &bytes, true);
    let frames = decode(&mut Decoder::default(), &out).unwrap();
    let ends: Vec<(usize, bool)> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Data { bytes, fin, .. } => (bytes.len(), *fin),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(MAX_DATA, false), (1, true)]);
}

#[test]
fn what_breaks_the_rules_is_an_error() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n"[..], None),
        (
            &[0x80, 2, 0, 1, 0, 0, 0, 0][..],
            Some(FrameError::Version(2)),
        ),
        (
            &[0x80, 3, 0, 4, 0, 0x10, 0, 1],
            Some(FrameError::TooLong((1 << 20) + 1)),
        ),
        (
            &[0x80, 3, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0],
            Some(FrameError::TooShort(1)),
        ),
        (&[0x80, 3, 0, 6, 0, 0, 0, 0], Some(FrameError::TooShort(6))),
        (
            &[0x80, 3, 0, 2, 0, 0, 0, 6, 0, 0, 0, 1, 9, 9],
            Some(FrameError::Headers("no zlib stream")),
        ),
    ] {
        // Text looks like a data frame: streams nobody has opened are the session's matter.
        assert_eq!(decode_all(bytes, 3).err(), error, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000), part in 1_usize..64) {
        let _ = decode_all(&bytes, part);
    }

    #[test]
    fn damaged_conversations_do_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        part in 1_usize..64,
    ) {
        let mut bytes = conversation();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = decode_all(&bytes, part);
    }

    #[test]
    fn the_parts_in_which_bytes_come_do_not_matter(part in 1_usize..200) {
        let (bytes, mut decoder, mut buffer) = (conversation(), Decoder::default(), BytesMut::new());
        let (mut frames, mut data) = (Vec::new(), Vec::new());
        for bytes in bytes.chunks(part) {
            buffer.extend_from_slice(bytes);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                match frame {
                    Frame::Data { bytes, .. } => data.extend_from_slice(&bytes),
                    other => frames.push(other),
                }
            }
        }
        prop_assert_eq!(data, b"hello");
        prop_assert_eq!(frames.len(), 7);
    }
}

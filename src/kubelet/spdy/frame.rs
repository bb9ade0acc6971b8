//! Frames (SPDY draft 3.1, section 2.2 and 2.6): bytes to [`Frame`]s and back. PURE.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{HeaderReader, Headers};

/// Longest control frame that is read, in bytes.
pub const MAX_CONTROL: usize = 1 << 20;
/// Longest data frame that is written, in bytes. Read they may be as long as they can; they are passed on in parts.
pub const MAX_DATA: usize = 64 * 1024;
/// The version that control frames carry.
const VERSION: u16 = 3;
const FIN: u8 = 1;

mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
}

/// Status codes of `RST_STREAM`.
pub mod reset {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INVALID_STREAM: u32 = 2;
    /// The stream was refused before anything was done for it.
    pub const REFUSED_STREAM: u32 = 3;
    /// Nobody wants the stream any more.
    pub const CANCEL: u32 = 5;
    /// The stream's reader took nothing for too long.
    pub const FLOW_CONTROL_ERROR: u32 = 7;
}

/// What a peer did that cannot be answered on one stream alone. The connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another version of SPDY, or no SPDY at all.
    #[error("a control frame of version {0}")]
    Version(u16),
    /// A control frame beyond [`MAX_CONTROL`].
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    /// A control frame too short for its kind.
    #[error("a control frame of kind {0} is too short")]
    TooShort(u16),
    /// A header block that cannot be read.
    #[error("headers: {0}")]
    Headers(&'static str),
    /// Our own headers could not be compressed.
    #[error("headers could not be compressed")]
    Compression,
}

/// A frame that means something to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        /// The opener will send nothing.
        fin: bool,
        headers: Headers,
    },
    /// The answer to a new stream.
    SynReply {
        stream: u32,
        /// The sender will send nothing more.
        fin: bool,
        headers: Headers,
    },
    /// The stream is over, both ways.
    Reset {
        stream: u32,
        /// One of [`reset`].
        status: u32,
    },
    /// To be answered with the same ID, if the peer chose it.
    Ping(u32),
    /// The peer takes no more streams.
    GoAway,
    /// More headers of a stream.
    Headers {
        stream: u32,
        /// The sender will send nothing more.
        fin: bool,
    },
    /// Bytes of a stream. One data frame may come in several parts, the last of which carries the `fin`.
    Data {
        stream: u32,
        /// The bytes.
        bytes: Bytes,
        /// The sender will send nothing more.
        fin: bool,
    },
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    headers: HeaderReader,
    /// The data frame that is being read.
    data: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    stream: u32,
    left: usize,
    fin: bool,
}

impl Decoder {
    /// Takes the next frame from the front of `buffer`; `None` when more bytes are needed. `buffer` never has to hold
    /// more than [`MAX_CONTROL`] and eight bytes for that.
    ///
    /// # Errors
    /// A [`FrameError`]; the connection cannot go on after it.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(run) = self.data {
                return Ok(self.part(run, buffer));
            }
            let Some(head) = buffer.first_chunk::<8>() else {
                return Ok(None);
            };
            let word = u64::from_be_bytes(*head);
            let [.., flags, long, middle, short] = *head;
            let length = u32::from_be_bytes([0, long, middle, short]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            // The first bit tells control frames from data.
            if word >> 63 == 0 {
                buffer.advance(8);
                let run = Run {
                    stream: u32::try_from(word >> 32).unwrap_or_default(),
                    left: length,
                    fin: flags & FIN != 0,
                };
                // An empty frame says nothing unless it ends the stream.
                if run.left > 0 || run.fin {
                    self.data = Some(run);
                }
                continue;
            }
            let field =
                |shift: u32, mask: u64| u16::try_from((word >> shift) & mask).unwrap_or_default();
            let (version, kind) = (field(48, 0x7fff), field(32, 0xffff));
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            if length > MAX_CONTROL {
                return Err(FrameError::TooLong(length));
            }
            if buffer.len() < 8 + length {
                return Ok(None);
            }
            buffer.advance(8);
            let body = buffer.split_to(length);
            if let Some(frame) = self.control(kind, flags, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    /// As much of a data frame as has arrived.
    fn part(&mut self, run: Run, buffer: &mut BytesMut) -> Option<Frame> {
        if buffer.is_empty() && run.left > 0 {
            return None;
        }
        let bytes = buffer.split_to(run.left.min(buffer.len())).freeze();
        let left = run.left - bytes.len();
        self.data = (left > 0).then_some(Run { left, ..run });
        Some(Frame::Data {
            stream: run.stream,
            bytes,
            fin: run.fin && left == 0,
        })
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Option<Frame>, FrameError> {
        let fin = flags & FIN != 0;
        let mut rest = body;
        let mut word = || {
            let (head, tail) = rest
                .split_first_chunk::<4>()
                .ok_or(FrameError::TooShort(kind))?;
            rest = tail;
            Ok(u32::from_be_bytes(*head))
        };
        Ok(Some(match kind {
            kind::SYN_STREAM => {
                let stream = word()? & 0x7fff_ffff;
                // The associated stream, which only a server's push has; then priority and slot.
                word()?;
                let block = rest.get(2..).ok_or(FrameError::TooShort(kind))?;
                let headers = self.headers.read(block)?;
                Frame::SynStream {
                    stream,
                    fin,
                    headers,
                }
            }
            kind::SYN_REPLY => {
                let stream = word()? & 0x7fff_ffff;
                let headers = self.headers.read(rest)?;
                Frame::SynReply {
                    stream,
                    fin,
                    headers,
                }
            }
            kind::HEADERS => {
                let stream = word()? & 0x7fff_ffff;
                self.headers.read(rest)?;
                Frame::Headers { stream, fin }
            }
            kind::RST_STREAM => Frame::Reset {
                stream: word()? & 0x7fff_ffff,
                status: word()?,
            },
            kind::PING => Frame::Ping(word()?),
            kind::GOAWAY => Frame::GoAway,
            // SETTINGS, WINDOW_UPDATE, CREDENTIAL and what the protocol may get: nobody here needs it.
            _ => return Ok(None),
        }))
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, words: &[u32], block: &[u8]) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    let length = words.len() * 4 + block.len();
    out.put_uint(u64::try_from(length).unwrap_or_default(), 3);
    for word in words {
        out.put_u32(*word);
    }
    out.put_slice(block);
}

/// Writes the answer to a new stream; `block` comes from a [`super::headers::HeaderWriter`].
pub fn put_syn_reply(out: &mut BytesMut, stream: u32, block: &[u8]) {
    control(out, kind::SYN_REPLY, 0, &[stream], block);
}

/// Writes the end of a stream, both ways.
pub fn put_reset(out: &mut BytesMut, stream: u32, status: u32) {
    control(out, kind::RST_STREAM, 0, &[stream, status], &[]);
}

/// Writes a ping, or the answer to one.
pub fn put_ping(out: &mut BytesMut, id: u32) {
    control(out, kind::PING, 0, &[id], &[]);
}

/// Writes the end of the connection. `status` 0 is a good end, 1 a broken protocol.
pub fn put_goaway(out: &mut BytesMut, last_stream: u32, status: u32) {
    control(out, kind::GOAWAY, 0, &[last_stream, status], &[]);
}

/// Writes bytes of a stream, in frames of at most [`MAX_DATA`]; `fin` ends our side of it.
pub fn put_data(out: &mut BytesMut, stream: u32, mut bytes: &[u8], fin: bool) {
    loop {
        let (part, rest) = bytes.split_at(bytes.len().min(MAX_DATA));
        out.put_u32(stream);
        out.put_u8(if fin && rest.is_empty() { FIN } else { 0 });
        out.put_uint(u64::try_from(part.len()).unwrap_or_default(), 3);
        out.put_slice(part);
        if rest.is_empty() {
            return;
        }
        bytes = rest;
    }
}

/// Decodes `input` as it would come from a connection in parts of the given length: the entry of the fuzz target.
/// Returns how many frames there were.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode_all(input: &[u8], part: usize) -> Result<usize, FrameError> {
    let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::new(), 0);
    for bytes in input.chunks(part.max(1)) {
        buffer.extend_from_slice(bytes);
        while decoder.decode(&mut buffer)?.is_some() {
            frames += 1;
        }
    }
    Ok(frames)
}

#[cfg(test)]
mod tests;

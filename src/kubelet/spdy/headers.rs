//! Header blocks: name and value pairs, compressed with one zlib stream per direction for the life of a connection
//! (SPDY draft 3.1, section 2.6.10).

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::FrameError;

/// Longest header block after decompression, in bytes. Those of Kubernetes have about a hundred.
const MAX_BLOCK: usize = 4 * 1024;
/// Most pairs in one block. Those of Kubernetes have three.
const MAX_PAIRS: u32 = 32;
/// Bytes decompressed at a time.
const STEP: usize = 4096;
/// log2 of the window we compress with: our blocks are a few bytes long, and a small window is little memory.
const WINDOW_BITS: u8 = 11;

/// Words of the dictionary that stand behind their length as 32 bits (SPDY draft 3.1, section 2.6.10.1).
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// The dictionary's end, without lengths.
const TAIL: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
);

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS {
        bytes.extend_from_slice(&u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
});

/// The dictionary both sides start from.
pub fn dictionary() -> &'static [u8] {
    &DICTIONARY
}

/// The headers of a frame, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, whose case does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        value.split('\0').next()
    }
}

/// Reads header blocks. Every block of a connection has to pass through the same reader, in order.
#[derive(Debug)]
pub struct HeaderReader {
    zlib: Decompress,
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self {
            zlib: Decompress::new(true),
        }
    }
}

impl HeaderReader {
    /// The pairs of the compressed block `input`.
    ///
    /// # Errors
    /// [`FrameError::Headers`]; the connection cannot go on, because the state of the decompression is lost.
    pub fn read(&mut self, input: &[u8]) -> Result<Headers, FrameError> {
        parse(&self.inflate(input)?)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut block = Vec::new();
        let mut step = [0_u8; STEP];
        loop {
            let (read, written) = (self.zlib.total_in(), self.zlib.total_out());
            let result = self
                .zlib
                .decompress(input, &mut step, FlushDecompress::Sync);
            let read = usize::try_from(self.zlib.total_in() - read).unwrap_or(usize::MAX);
            let written = usize::try_from(self.zlib.total_out() - written).unwrap_or(usize::MAX);
            input = input.get(read..).unwrap_or_default();
            let output = step.get(..written).unwrap_or_default();
            if block.len() + output.len() > MAX_BLOCK {
                return Err(FrameError::Headers("too long after decompression"));
            }
            block.extend_from_slice(output);
            match result {
                Ok(Status::StreamEnd) => return Err(FrameError::Headers("the zlib stream ended")),
                Ok(_) if written == STEP => {}
                Ok(_) if input.is_empty() => return Ok(block),
                Ok(_) if read == 0 && written == 0 => {
                    return Err(FrameError::Headers("no zlib stream"));
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(dictionary())
                        .map_err(|_| FrameError::Headers("another dictionary"))?;
                }
                Err(_) => return Err(FrameError::Headers("no zlib stream")),
            }
        }
    }
}

/// Writes header blocks, each of which has to go out in the order written.
#[derive(Debug)]
pub struct HeaderWriter {
    zlib: Compress,
}

impl HeaderWriter {
    /// A writer at the start of a connection.
    ///
    /// # Errors
    /// [`FrameError::Compression`] when zlib does not take the dictionary.
    pub fn new() -> Result<Self, FrameError> {
        let mut zlib = Compress::new_with_window_bits(Compression::fast(), true, WINDOW_BITS);
        zlib.set_dictionary(dictionary())
            .map_err(|_| FrameError::Compression)?;
        Ok(Self { zlib })
    }

    /// `headers` as a compressed block. Names are written in lower case.
    ///
    /// # Errors
    /// [`FrameError::Compression`] when zlib fails.
    pub fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, FrameError> {
        let mut block = Vec::new();
        length(&mut block, headers.0.len())?;
        for (name, value) in &headers.0 {
            let name = name.to_ascii_lowercase();
            for part in [name.as_str(), value.as_str()] {
                length(&mut block, part.len())?;
                block.extend_from_slice(part.as_bytes());
            }
        }
        self.deflate(&block)
    }

    fn deflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut output = Vec::new();
        loop {
            output.reserve(STEP);
            let room = output.capacity() - output.len();
            let (before, filled) = (self.zlib.total_in(), output.len());
            self.zlib
                .compress_vec(input, &mut output, FlushCompress::Sync)
                .map_err(|_| FrameError::Compression)?;
            let read = usize::try_from(self.zlib.total_in() - before).unwrap_or(usize::MAX);
            input = input.get(read..).unwrap_or_default();
            // A flush is complete when it leaves room in the output.
            if input.is_empty() && output.len() - filled < room {
                return Ok(output);
            }
        }
    }
}

fn length(block: &mut Vec<u8>, length: usize) -> Result<(), FrameError> {
    let length = u32::try_from(length).map_err(|_| FrameError::Compression)?;
    block.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

fn parse(block: &[u8]) -> Result<Headers, FrameError> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > MAX_PAIRS {
        return Err(FrameError::Headers("too many"));
    }
    let mut pairs = Vec::new();
    for _ in 0..count {
        let name = text(&mut rest)?;
        if name.is_empty() {
            return Err(FrameError::Headers("a name is empty"));
        }
        pairs.push((name, text(&mut rest)?));
    }
    if rest.is_empty() {
        Ok(Headers(pairs))
    } else {
        Err(FrameError::Headers("longer than their count says"))
    }
}

fn number(rest: &mut &[u8]) -> Result<u32, FrameError> {
    let (head, tail) = rest
        .split_first_chunk::<4>()
        .ok_or(FrameError::Headers("cut off"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn text(rest: &mut &[u8]) -> Result<String, FrameError> {
    let length = usize::try_from(number(rest)?).unwrap_or(usize::MAX);
    let (head, tail) = rest
        .split_at_checked(length)
        .ok_or(FrameError::Headers("cut off"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Headers {
        Headers(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    /// Adler-32 (RFC 1950, section 9): zlib names a dictionary by it.
    fn adler(bytes: &[u8]) -> u32 {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in bytes {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        (high << 16) | low
    }

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        assert_eq!(dictionary().len(), 1423);
        // The dictionary ID that SPDY/3 peers send in the first header block.
        assert_eq!(adler(dictionary()), 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_come_back_one_after_the_other() {
        let (mut writer, mut reader) = (HeaderWriter::new().unwrap(), HeaderReader::default());
        let long = "x".repeat(4_000);
        for headers in [
            pairs(&[("streamtype", "error")]),
            pairs(&[]),
            pairs(&[("streamtype", "stdin"), ("port", "80"), ("long", &long)]),
            pairs(&[("streamtype", "stdin"), ("values", "a\0b")]),
        ] {
            let block = writer.write(&headers).unwrap();
            assert_eq!(reader.read(&block).unwrap(), headers);
        }
    }

    #[test]
    fn a_name_is_found_in_any_case_and_gives_its_first_value() {
        let headers = pairs(&[("StreamType", "a\0b")]);
        assert_eq!(headers.get("streamType"), Some("a"));
        assert_eq!(headers.get("port"), None);
    }

    #[test]
    fn a_bomb_and_nonsense_are_refused() {
        let zeros = vec![0_u8; 10 << 20];
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(dictionary()).unwrap();
        let mut bomb = Vec::with_capacity(64 << 10);
        zlib.compress_vec(&zeros, &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert!(bomb.len() < 64 << 10);
        let read = |bytes: &[u8]| HeaderReader::default().read(bytes);
        assert_eq!(
            read(&bomb),
            Err(FrameError::Headers("too long after decompression"))
        );
        assert!(read(b"no zlib").is_err());
        assert!(read(b"").is_err());
        // A stream that ends, or names another dictionary.
        let mut ended = Vec::with_capacity(100);
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.compress_vec(b"\0\0\0\0", &mut ended, FlushCompress::Finish)
            .unwrap();
        assert_eq!(
            read(&ended),
            Err(FrameError::Headers("the zlib stream ended"))
        );
        let mut foreign = Vec::with_capacity(100);
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(b"foreign").unwrap();
        zlib.compress_vec(b"\0\0\0\0", &mut foreign, FlushCompress::Sync)
            .unwrap();
        assert_eq!(
            read(&foreign),
            Err(FrameError::Headers("another dictionary"))
        );
    }

    #[test]
    fn counts_and_lengths_are_checked() {
        for (block, why) in [
            (&[0, 0, 0][..], "cut off"),
            (&[0, 0, 4, 0][..], "too many"),
            (&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, b'a'], "cut off"),
            (&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], "a name is empty"),
            (&[0, 0, 0, 0, 1], "longer than their count says"),
        ] {
            assert_eq!(parse(block), Err(FrameError::Headers(why)), "{block:?}");
        }
    }
}

//! A SPDY/3.1 client that shares no code with the server but the dictionary.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vkc::kubelet::spdy::headers::dictionary;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Reply(u32),
    Reset(u32, u32),
    Ping(u32),
    GoAway(u32),
    Data(u32, Vec<u8>, bool),
}

pub(crate) struct Client {
    pub(crate) tcp: TcpStream,
    deflate: Compress,
    inflate: Decompress,
    next: u32,
}

/// Status and header lines of the answer to a request for an upgrade, and the connection.
pub(crate) async fn request(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String, TcpStream) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut text = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            text += part;
        }
    }
    text += "\r\n";
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, tcp)
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, path: &str, protocol: &str) -> Self {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", protocol),
        ];
        let (status, head, tcp) = request(address, path, &headers).await;
        assert_eq!(status, 101, "{head}");
        assert!(head.contains("upgrade: spdy/3.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("x-stream-protocol-version: {protocol}\r\n")),
            "{head}"
        );
        Self::on(tcp)
    }

    pub(crate) fn on(tcp: TcpStream) -> Self {
        let mut deflate = Compress::new(Compression::default(), true);
        deflate.set_dictionary(dictionary()).unwrap();
        Self {
            tcp,
            deflate,
            inflate: Decompress::new(true),
            next: 1,
        }
    }

    /// Opens a stream and returns its ID.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        self.open_as(id, headers).await;
        id
    }

    pub(crate) async fn open_as(&mut self, id: u32, headers: &[(&str, &str)]) {
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for (name, value) in headers {
            for text in [name, value] {
                block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                block.extend(text.as_bytes());
            }
        }
        let mut packed = Vec::with_capacity(block.len() + 200);
        self.deflate
            .compress_vec(&block, &mut packed, FlushCompress::Sync)
            .unwrap();
        let mut frame = vec![0x80, 3, 0, 1, 0];
        frame.extend(&u32::try_from(packed.len() + 10).unwrap().to_be_bytes()[1..]);
        frame.extend(id.to_be_bytes());
        frame.extend([0; 6]);
        frame.extend(packed);
        self.tcp.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn data(&mut self, id: u32, bytes: &[u8], fin: bool) {
        let mut frame = id.to_be_bytes().to_vec();
        frame.push(u8::from(fin));
        frame.extend(&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..]);
        frame.extend(bytes);
        self.tcp.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn reset(&mut self, id: u32) {
        let mut frame = vec![0x80, 3, 0, 3, 0, 0, 0, 8];
        frame.extend(id.to_be_bytes());
        frame.extend(5_u32.to_be_bytes());
        self.tcp.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn ping(&mut self, id: u32) {
        let mut frame = vec![0x80, 3, 0, 6, 0, 0, 0, 4];
        frame.extend(id.to_be_bytes());
        self.tcp.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` when the server has closed.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, self.frame())
            .await
            .expect("a frame or the end within 20 s")
    }

    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 8];
        self.tcp.read_exact(&mut head).await.ok()?;
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (first, flags) = (number(0), head[4]);
        let mut body = vec![0; (number(4) & 0x00ff_ffff) as usize];
        self.tcp.read_exact(&mut body).await.ok()?;
        let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        if first >> 31 == 0 {
            return Some(Frame::Data(first, body, flags & 1 == 1));
        }
        assert_eq!(first >> 16, 0x8003);
        Some(match first & 0xffff {
            2 => {
                assert_eq!(self.unpack(&body[4..]), [0, 0, 0, 0]);
                Frame::Reply(word(0))
            }
            3 => Frame::Reset(word(0), word(4)),
            6 => Frame::Ping(word(0)),
            7 => Frame::GoAway(word(4)),
            other => panic!("kind {other}"),
        })
    }

    fn unpack(&mut self, mut packed: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(1000);
        loop {
            let before = self.inflate.total_in();
            let result = self
                .inflate
                .decompress_vec(packed, &mut block, FlushDecompress::Sync);
            packed = &packed[usize::try_from(self.inflate.total_in() - before).unwrap()..];
            match result {
                Ok(_) => return block,
                Err(error) => {
                    assert!(error.needs_dictionary().is_some(), "{error}");
                    self.inflate.set_dictionary(dictionary()).unwrap();
                }
            }
        }
    }

    /// Everything until the goodbye: what each stream brought and whether it ended.
    pub(crate) async fn finish(&mut self) -> BTreeMap<u32, (Vec<u8>, bool)> {
        let mut streams = BTreeMap::<u32, (Vec<u8>, bool)>::new();
        let mut replied = Vec::new();
        loop {
            match self.read().await.expect("a goodbye") {
                Frame::Reply(id) => replied.push(id),
                Frame::Data(id, bytes, fin) => {
                    assert!(replied.contains(&id), "data before the reply");
                    let stream = streams.entry(id).or_default();
                    assert!(!stream.1, "data after the end");
                    stream.0.extend(bytes);
                    stream.1 = fin;
                }
                Frame::GoAway(status) => {
                    assert_eq!(status, 0);
                    return streams;
                }
                Frame::Ping(id) => assert_eq!(id % 2, 0),
                Frame::Reset(id, status) => panic!("stream {id} was reset: {status}"),
            }
        }
    }
}

//! Reads more than was asked for, for those who may have memory for it: TLS by itself reads 4 KiB at a time, a quarter of a
//! record.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that is read as it is until it may be read ahead.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// What was read and not asked for yet.
    from: usize,
    to: usize,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Box::default(),
            from: 0,
            to: 0,
        }
    }

    /// From now on so many bytes are read at a time; for one that has not read ahead yet.
    pub(super) fn grow(&mut self, bytes: usize) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; bytes].into();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.from == me.to {
            if into.remaining() >= me.buffer.len() {
                return Pin::new(&mut me.stream).poll_read(context, into);
            }
            let mut ahead = ReadBuf::new(&mut me.buffer);
            ready!(Pin::new(&mut me.stream).poll_read(context, &mut ahead))?;
            (me.from, me.to) = (0, ahead.filled().len());
        }
        let waits = me.buffer.get(me.from..me.to).unwrap_or_default();
        let taken = waits.get(..into.remaining()).unwrap_or(waits);
        into.put_slice(taken);
        me.from += taken.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_read_ahead_comes_in_its_order() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut stream = ReadAhead::new(near);
        far.write_all(b"0123456789").await.unwrap();
        let mut two = [0; 2];
        stream.read_exact(&mut two).await.unwrap();
        assert_eq!((&two, stream.to), (b"01", 0), "not ahead");
        stream.grow(4);
        stream.read_exact(&mut two).await.unwrap();
        assert_eq!((&two, stream.from, stream.to), (b"23", 2, 4));
        let mut six = [0; 6];
        stream.read_exact(&mut six).await.unwrap();
        assert_eq!(&six, b"456789");
        drop(far);
        assert_eq!(stream.read(&mut two).await.unwrap(), 0, "the end");
    }
}

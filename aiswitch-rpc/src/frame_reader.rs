//! A frame reader yields the frames of an asynchronous stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, ReadBuf};

use crate::codec::{Decoder, Framing};
use crate::error::FrameError;

/// A frame reader reads any stream of lines (or `Content-Length` bodies) within limits.
///
/// ```
/// use aiswitch_rpc::FrameReader;
/// use aiswitch_rpc::codec::Framing;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), aiswitch_rpc::FrameError> {
/// let mut frames = FrameReader::new(&b"{\"type\":\"start\"}\n{\"type\":\"end\"}\n"[..], Framing::Lines, 1024);
/// assert_eq!(frames.next().await?, Some(r#"{"type":"start"}"#));
/// assert_eq!(frames.next().await?, Some(r#"{"type":"end"}"#));
/// assert_eq!(frames.next().await?, None);
/// # Ok(())
/// # }
/// ```
pub struct FrameReader<R> {
    reader: R,
    decoder: Decoder,
    has_ended: bool,
}

impl<R> fmt::Debug for FrameReader<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FrameReader").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of at most `frame_bytes_max` bytes from `reader`.
    pub fn new(reader: R, framing: Framing, frame_bytes_max: usize) -> Self {
        Self { reader, decoder: Decoder::new(framing, frame_bytes_max), has_ended: false }
    }

    /// Waits for the next frame; `None` at the end of the stream.
    ///
    /// A last line without its line feed is a frame when it is a whole JSON value.
    ///
    /// # Errors
    /// As [`Decoder::next_frame`] and [`Decoder::finish`] say, or [`FrameError::Read`]. After
    /// [`FrameError::TooLong`], [`FrameError::InvalidUtf8`] and [`FrameError::Noise`] the next call goes on.
    ///
    /// # Cancel safety
    /// Safe: dropped before it ends, no byte is lost.
    pub async fn next(&mut self) -> Result<Option<&str>, FrameError> {
        let range = loop {
            let range = if self.has_ended { self.decoder.finish_range() } else { self.decoder.next_range() }?;
            match range {
                Some(range) => break range,
                None if self.has_ended => return Ok(None),
                None => self.read().await?,
            }
        };
        self.decoder.text(range).map(Some)
    }

    async fn read(&mut self) -> Result<(), FrameError> {
        let mut space = ReadBuf::new(self.decoder.space());
        poll_fn(|context| Pin::new(&mut self.reader).poll_read(context, &mut space))
            .await
            .map_err(|source| FrameError::Read { source: Arc::new(source) })?;
        let count = space.filled().len();
        self.has_ended = count == 0;
        self.decoder.filled(count);
        Ok(())
    }
}

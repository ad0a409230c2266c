//! A connection speaks just enough HTTP/1.1 to serve an agent CLI, and to break off in the middle of an answer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request, its body complete.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without its query.
    pub(crate) path: String,
    /// Names in lower case, in the order of the request.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// How a wait on a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Elapsed,
    ClientGone,
}

/// One accepted connection, kept alive from request to request.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Reads the next request; `None` when the client has closed the connection.
    pub(crate) async fn read_request(&mut self) -> io::Result<Option<Request>> {
        let request_line = self.read_line().await?;
        if request_line.is_empty() {
            return Ok(None);
        }
        let mut words = request_line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(invalid("request line"));
        };
        let path = target.split('?').next().unwrap_or(target);
        let headers = self.read_headers().await?;
        let mut request =
            Request { method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new() };
        if request.header("expect").is_some() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = match (request.header("transfer-encoding"), request.header("content-length")) {
            (Some(_chunked), _) => self.read_chunks().await?,
            (None, Some(length)) => {
                let length = length.parse().map_err(|_not_a_number| invalid("content-length"))?;
                self.read_exactly(length, BODY_BYTES_MAX).await?
            }
            (None, None) => Vec::new(),
        };
        Ok(Some(request))
    }

    /// Sends a complete response; `headers` are whole lines, each with its line end.
    pub(crate) async fn send(&mut self, status: u16, headers: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Mock\r\n{headers}content-length: {length}\r\n\r\n{body}");
        self.write(head.as_bytes()).await
    }

    /// Sends the head of a response whose body follows in frames.
    pub(crate) async fn start_stream(&mut self) -> io::Result<()> {
        self.write(
            b"HTTP/1.1 200 Mock\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await
    }

    /// Sends one frame of a streamed body at once.
    pub(crate) async fn send_frame(&mut self, frame: &str) -> io::Result<()> {
        self.write(format!("{:x}\r\n{frame}\r\n", frame.len()).as_bytes()).await
    }

    /// Ends a streamed body; without it the client sees a broken stream.
    pub(crate) async fn end_stream(&mut self) -> io::Result<()> {
        self.write(b"0\r\n\r\n").await
    }

    /// Waits for a time, or until the client closes the connection.
    pub(crate) async fn wait(&mut self, time: Duration) -> Waited {
        tokio::select! {
            () = tokio::time::sleep(time) => Waited::Elapsed,
            () = self.client_gone() => Waited::ClientGone,
        }
    }

    async fn client_gone(&mut self) {
        // A request that is already there keeps the client alive: only an end or an error is a farewell.
        if let Ok(1..) = self.stream.fill_buf().await.map(<[u8]>::len) {
            std::future::pending::<()>().await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads a line without its end; empty at the end of the stream too.
    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(HEAD_BYTES_MAX as u64).read_line(&mut line).await?;
        if line.len() == HEAD_BYTES_MAX {
            return Err(invalid("line that is too long"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    async fn read_headers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        let mut bytes = 0;
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return Ok(headers);
            }
            bytes += line.len();
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("header"))?;
            if bytes > HEAD_BYTES_MAX {
                return Err(invalid("head that is too long"));
            }
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or(&line);
            let size = usize::from_str_radix(digits, 16).map_err(|_not_hex| invalid("chunk size"))?;
            body.extend(self.read_exactly(size, BODY_BYTES_MAX - body.len()).await?);
            if !self.read_line().await?.is_empty() {
                return Err(invalid("chunk end"));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_exactly(&mut self, length: usize, length_max: usize) -> io::Result<Vec<u8>> {
        if length > length_max {
            return Err(invalid("body that is too long"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the request has a bad part: {what}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, Connection::new(server))
    }

    #[tokio::test]
    async fn two_requests_of_either_kind_come_over_one_connection() {
        let (mut client, mut connection) = pair().await;
        client.write_all(b"POST /a?key=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\nGET /b HTTP/1.1\r\ncontent-length: 2\r\n\r\nxy").await.unwrap();
        client.shutdown().await.unwrap();
        let first = connection.read_request().await.unwrap().unwrap();
        assert_eq!(
            (first.method.as_str(), first.path.as_str(), &first.body[..]),
            ("POST", "/a", &b"abcde"[..])
        );
        let second = connection.read_request().await.unwrap().unwrap();
        assert_eq!((second.path.as_str(), &second.body[..]), ("/b", &b"xy"[..]));
        assert!(connection.read_request().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_client_that_expects_it_is_told_to_continue() {
        let (mut client, mut connection) = pair().await;
        client
            .write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 1\r\n\r\nx")
            .await
            .unwrap();
        connection.read_request().await.unwrap().unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_client_leaves() {
        let (client, mut connection) = pair().await;
        drop(client);
        assert_eq!(connection.wait(Duration::from_mins(1)).await, Waited::ClientGone);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let (mut client, mut connection) = pair().await;
        client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n").await.unwrap();
        assert_eq!(connection.read_request().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

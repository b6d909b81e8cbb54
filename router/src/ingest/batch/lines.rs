//! A body cut into lines as it arrives. A line that is too long is skipped without being held.

use axum::body::BodyDataStream;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;

use crate::api::problem::{Kind, Problem};
use crate::limits::REQUEST_BYTES_MAX;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextLine {
    /// Without its line break; never empty.
    Line(Bytes),
    TooLong,
    End,
}

#[derive(Debug)]
pub(super) struct Lines {
    body: BodyDataStream,
    /// What arrived and was not handed out.
    pending: BytesMut,
    /// How much of `pending` holds no line break.
    searched: usize,
    skipping: bool,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: BodyDataStream) -> Lines {
        Lines { body, pending: BytesMut::new(), searched: 0, skipping: false, ended: false }
    }

    /// Cancel safe. Blank lines are passed over.
    pub(super) async fn next(&mut self) -> Result<NextLine, Problem> {
        loop {
            if let Some(line) = self.cut() {
                return Ok(line);
            }
            if self.ended {
                return Ok(NextLine::End);
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.pending.extend_from_slice(&chunk),
                Some(Err(_)) => return Err(Problem::new(Kind::Malformed, "the body broke off")),
                None => self.ended = true,
            }
        }
    }

    fn cut(&mut self) -> Option<NextLine> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.pending[self.searched..]) else {
                self.searched = self.pending.len();
                if self.searched > REQUEST_BYTES_MAX {
                    self.skipping = true;
                    self.pending.clear();
                    self.searched = 0;
                }
                return if self.ended { self.last() } else { None };
            };
            let mut line = self.pending.split_to(self.searched + found);
            self.pending.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) || line.len() > REQUEST_BYTES_MAX {
                return Some(NextLine::TooLong);
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(NextLine::Line(line.freeze()));
            }
        }
    }

    /// The line that no line break ends.
    fn last(&mut self) -> Option<NextLine> {
        if std::mem::take(&mut self.skipping) {
            self.pending.clear();
            self.searched = 0;
            return Some(NextLine::TooLong);
        }
        let line = self.pending.split();
        self.searched = 0;
        (!line.iter().all(u8::is_ascii_whitespace)).then(|| NextLine::Line(line.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::stream;

    async fn lines(chunks: Vec<Vec<u8>>) -> Vec<NextLine> {
        let chunks = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
        let mut lines = Lines::new(Body::from_stream(stream::iter(chunks)).into_data_stream());
        let mut all = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                NextLine::End => return all,
                line => all.push(line),
            }
        }
    }

    fn line(text: &str) -> NextLine {
        NextLine::Line(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn lines_are_the_same_wherever_the_body_is_split() {
        let body = b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}";
        let wanted = [line("{\"a\":1}"), line("{\"b\":2}"), line("{\"c\":3}")];
        for at in 0..=body.len() {
            let (one, two) = body.split_at(at);
            assert_eq!(lines(vec![one.to_vec(), two.to_vec()]).await, wanted, "split at {at}");
        }
        let bytes = body.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(lines(bytes).await, wanted);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_one_answer_and_those_behind_it_go_on() {
        for tail in ["\nb\n", ""] {
            let long = vec![b'x'; 100 * 1024];
            let mut chunks = vec![b"a\n".to_vec()];
            chunks.extend(std::iter::repeat_n(long, 8));
            chunks.push(tail.as_bytes().to_vec());
            let found = lines(chunks).await;
            let wanted = [line("a"), NextLine::TooLong, line("b")];
            assert_eq!(found, &wanted[..found.len()]);
            assert_eq!(found.len(), if tail.is_empty() { 2 } else { 3 });
        }
    }
}

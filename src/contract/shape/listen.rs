//! A body that is heard as it passes: what streams is not held up, changed or copied for the learner.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    learner::{Question, Skipped},
    queue::{Answer, Held},
};
use crate::http::{Body, BodyError};

/// Passes a body on and keeps handles on its pieces until its end.
pub(super) struct Listening {
    body: Body,
    heard: Option<Heard>,
}

struct Heard {
    question: Question,
    pieces: Vec<Bytes>,
    bytes: u64,
    is_gzip: bool,
    held: Held,
}

impl Listening {
    pub(super) fn new(body: Body, question: Question, is_gzip: bool, held: Held) -> Self {
        Self {
            body,
            heard: Some(Heard {
                question,
                pieces: Vec::new(),
                bytes: 0,
                is_gzip,
                held,
            }),
        }
    }

    fn hear(&mut self, piece: &Bytes) {
        let Some(heard) = &mut self.heard else { return };
        heard.bytes += piece.len() as u64;
        let why = if heard.bytes > heard.question.bytes_max() {
            Skipped::Large
        } else if !heard.held.add(piece.len() as u64) {
            Skipped::Full
        } else {
            heard.pieces.push(piece.clone());
            return;
        };
        heard.question.skip(why);
        self.heard = None;
    }

    fn end(&mut self) {
        let Some(heard) = self.heard.take() else {
            return;
        };
        heard.question.clone().learn(Answer {
            question: heard.question,
            pieces: heard.pieces,
            is_gzip: heard.is_gzip,
            held: heard.held,
        });
    }
}

impl http_body::Body for Listening {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(),
            // What broke off says nothing of its shape.
            Some(Err(_)) => self.heard = None,
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    self.hear(piece);
                }
                // Whoever counts bytes does not ask for the end.
                if self.body.is_end_stream() {
                    self.end();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! A log's text on its way to the reader: written out chunk by chunk from the one buffer that it came in, which becomes smaller
//! as its reader goes on.

use std::ops::Range;

use bytes::Bytes;

use super::{Writer, lines};

/// Bytes of a chunk, about.
pub(super) const CHUNK: usize = 32 << 10;

/// What is left to be written of a text.
#[derive(Debug)]
pub(super) struct Shown {
    content: String,
    timed: bool,
    /// Where the next line begins.
    at: usize,
    /// The rest of a line that is longer than a chunk, and whether it ends.
    rest: Option<(Range<usize>, bool)>,
    /// A last line that has not ended is left out: it may go on.
    finished_only: bool,
}

impl Shown {
    /// The last `tail` lines of `content`, or all.
    pub(super) fn new(
        content: String,
        timed: bool,
        tail: Option<usize>,
        finished_only: bool,
    ) -> Self {
        let at = content.len() - lines::end_of(&content, timed, tail).len();
        let mut shown = Self {
            content,
            timed,
            at,
            rest: None,
            finished_only,
        };
        shown.let_go();
        shown
    }

    /// Bytes in memory.
    pub(super) fn held(&self) -> usize {
        self.content.len()
    }

    /// The next chunk; `None` at the end.
    pub(super) fn next(&mut self, writer: &mut Writer) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < CHUNK && !writer.limit.is_reached() && self.step(writer, &mut out) {}
        self.let_go();
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// Forgets what is written when that is half of what is there, so that no byte is moved often.
    fn let_go(&mut self) {
        let rest = self.rest.as_ref().map(|(range, _)| range.start);
        let written = rest.unwrap_or(self.at);
        if written < CHUNK || written < self.content.len() / 2 {
            return;
        }
        self.content = self.content.get(written..).unwrap_or_default().to_owned();
        self.at -= written;
        if let Some((range, _)) = &mut self.rest {
            *range = range.start - written..range.end - written;
        }
    }

    /// Writes a line, or a chunk of it; false at the end.
    fn step(&mut self, writer: &mut Writer, out: &mut Vec<u8>) -> bool {
        if let Some((range, ended)) = self.rest.take() {
            self.part(writer, out, range, ended);
            return true;
        }
        let left = self.content.get(self.at..).unwrap_or_default();
        let Some(line) = lines::each(left, self.timed).next() else {
            return false;
        };
        if self.finished_only && !line.ended {
            return false;
        }
        let length = left.find('\n').map_or(left.len(), |newline| newline + 1);
        let end = self.at + length;
        let text_end = end - usize::from(line.ended);
        let range = text_end - line.text.len()..text_end;
        let (at, ended) = (line.at, line.ended);
        self.at = end;
        if writer.begin(out, at) {
            self.part(writer, out, range, ended);
        }
        true
    }

    fn part(&mut self, writer: &mut Writer, out: &mut Vec<u8>, range: Range<usize>, ended: bool) {
        let cut = range.end.min(range.start + CHUNK);
        let cut = self.content.ceil_char_boundary(cut);
        let text = self.content.get(range.start..cut).unwrap_or_default();
        writer.limit.write(out, text);
        if cut < range.end {
            self.rest = Some((cut..range.end, ended));
        } else if ended {
            writer.limit.write(out, "\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::options::Options;
    use super::super::seen::{self, Piece};
    use super::*;

    const T: &str = "2026-01-02T03:04:05.678901234Z";

    fn written(content: &str, options: &Options, timed: bool, finished_only: bool) -> Vec<Bytes> {
        let tail = options
            .tail
            .map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let mut shown = Shown::new(content.to_owned(), timed, tail, finished_only);
        let mut writer = Writer::new(options);
        std::iter::from_fn(|| shown.next(&mut writer)).collect()
    }

    /// The same from all lines at once.
    fn expected(content: &str, options: &Options, timed: bool, finished_only: bool) -> Vec<u8> {
        let all = lines::last(content, timed, usize::MAX);
        let tail = options.tail.map_or(usize::MAX, |tail| {
            usize::try_from(tail).unwrap_or(usize::MAX)
        });
        let from = all.len().saturating_sub(tail);
        let shown = all.get(from..).unwrap_or_default().iter();
        let pieces: Vec<Piece> = shown
            .filter(|line| line.ended || !finished_only)
            .map(seen::whole_line)
            .collect();
        Writer::new(options).write(&pieces).to_vec()
    }

    fn content() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            4 => "[a-zä]{0,12}",
            1 => Just("ü".repeat(CHUNK)),
            1 => Just("x".repeat(3 * CHUNK)),
        ];
        let time = prop_oneof![4 => Just(format!("{T} ")), 1 => Just(String::new())];
        let one = (time, line, prop_oneof![Just("\n"), Just("\r\n")]);
        let ends = any::<bool>();
        (prop::collection::vec(one, 0..6), ends).prop_map(|(lines, ends)| {
            let mut all = String::new();
            for (time, text, end) in lines {
                all.extend([time.as_str(), text.as_str(), end]);
            }
            if !ends {
                all.pop();
            }
            all
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn chunks_are_the_whole(
            content in content(),
            timed in any::<bool>(),
            finished_only in any::<bool>(),
            tail in prop::option::of(0u64..7),
            limit in prop::option::of(0u64..200_000),
        ) {
            let options = Options { tail, timestamps: timed, limit_bytes: limit, ..Options::default() };
            let chunks = written(&content, &options, timed, finished_only);
            for chunk in &chunks {
                prop_assert!(!chunk.is_empty() && chunk.len() <= 2 * CHUNK + 64, "{}", chunk.len());
            }
            let whole: Vec<u8> = chunks.concat();
            prop_assert_eq!(whole, expected(&content, &options, timed, finished_only));
        }
    }

    #[test]
    fn four_million_lines_cost_one_chunk_at_a_time() {
        let content = "\n".repeat(4 << 20);
        let mut shown = Shown::new(content, false, None, false);
        let mut writer = Writer::new(&Options::default());
        let mut bytes = 0;
        while let Some(chunk) = shown.next(&mut writer) {
            assert!(chunk.len() <= CHUNK + 1, "{}", chunk.len());
            bytes += chunk.len();
        }
        assert_eq!(bytes, 4 << 20);
    }
}

//! Handles possibly invalid JSON: finds the place of a fault, and splits streams into objects.

/// A step of the path to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// An element of JSON, with its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met<'a> {
    /// A string with its quotes, a number or a word, and its start.
    Scalar(&'a str, usize),
    /// The start of an object or array.
    Open(usize),
    /// The end of an object or array.
    Closed(usize),
}

/// Kubernetes has no objects of this depth.
const DEEPEST: usize = 64;

/// Visits every value in order, as long as `visit` returns true and `text` resembles JSON. The text
/// may be truncated or invalid: this function does not validate it.
pub(crate) fn walk<'a>(text: &'a str, mut visit: impl FnMut(&[Step<'a>], Met<'a>) -> bool) {
    let bytes = text.as_bytes();
    let mut path: Vec<Step<'a>> = Vec::new();
    let mut key = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                if !visit(&path, Met::Open(at)) || path.len() == DEEPEST {
                    return;
                }
                path.push(if byte == b'{' { Step::Key("") } else { Step::Index(0) });
                key = None;
            }
            b'}' | b']' => {
                path.pop();
                if !visit(&path, Met::Closed(at + 1)) {
                    return;
                }
            }
            b',' => match path.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                _ => key = None,
            },
            b':' => {
                if let (Some(Step::Key(last)), Some(key)) = (path.last_mut(), key) {
                    *last = key;
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                let end = scalar_ends(bytes, at);
                let scalar = &text[at..end];
                if key.is_none() && matches!(path.last(), Some(Step::Key(_))) {
                    key = Some(scalar.trim_matches('"'));
                } else if !visit(&path, Met::Scalar(scalar, at)) {
                    return;
                }
                at = end;
                continue;
            }
        }
        at += 1;
    }
}

/// Returns the end of the string, number or word that starts `at`. The end is never inside a
/// character: non-ASCII characters occur in strings, or count as part of a word.
fn scalar_ends(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    if bytes[at] == b'"' {
        while let Some(&byte) = bytes.get(end) {
            end += 1;
            match byte {
                b'"' => return end,
                b'\\' => end += 1,
                _ => {}
            }
        }
        return bytes.len();
    }
    while bytes.get(end).is_some_and(|byte| !b"{}[],:\" \t\n\r".contains(byte)) {
        end += 1;
    }
    end
}

/// Formats a path such as `spec.containers[0].name`.
pub(crate) fn shown(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text = format!("{text}.{key}"),
            Step::Index(index) => text = format!("{text}[{index}]"),
        }
    }
    text
}

/// Returns the path of the value at `line` and `column`, in serde_json's counting, where reading
/// stopped.
pub(crate) fn path_at(text: &str, line: usize, column: usize) -> String {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let stopped = lines.map(str::len).sum::<usize>() + column;
    let mut found = String::new();
    walk(text, |path, met| {
        let (begins, ends) = match met {
            Met::Scalar(scalar, at) => (at, Some(at + scalar.len())),
            Met::Open(at) => (at, None),
            Met::Closed(at) => {
                if at == stopped {
                    found = shown(path);
                }
                return at < stopped;
            }
        };
        if begins <= stopped {
            found = shown(path);
        }
        begins < stopped && ends != Some(stopped)
    });
    found
}

/// Splits a list into its items while it arrives, so that memory never holds all of it.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// Upper bound of an item, in bytes.
    longest: usize,
    /// The list without its items: a 0 replaces each.
    frame: Vec<u8>,
    item: Option<Item>,
    /// Collects the current item.
    buffer: Vec<u8>,
    text: Text,
    depth: usize,
    /// Place in the frame of the last string of the list itself, which may be a key.
    last: (usize, usize),
    in_items: bool,
}

#[derive(Debug)]
struct Item {
    depth: usize,
    length: usize,
}

/// The position of a byte relative to strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// An item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Whole(&'a [u8]),
    /// Only its beginning, because it exceeds the bound.
    Beginning(&'a [u8]),
}

/// Upper bound of a list without its items, in bytes: each leaves two.
const LONGEST_FRAME: usize = 1 << 20;

/// The data that arrived is not the end of a list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a Kubernetes list: {0}")]
pub struct NoList(pub &'static str);

impl Splitter {
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            longest,
            frame: Vec::new(),
            item: None,
            buffer: Vec::new(),
            text: Text::Outside,
            depth: 0,
            last: (0, 0),
            in_items: false,
        }
    }

    /// Takes arrived data, and calls `each` for every item that ends in it.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part<'_>),
    ) -> Result<(), NoList> {
        while let Some(&byte) = bytes.first() {
            let run = match self.text {
                // Most of an object is strings: skip to the next byte in them that matters.
                Text::Inside => bytes.iter().position(|b| matches!(b, b'"' | b'\\')),
                _ => Some(0),
            };
            let run = run.unwrap_or(bytes.len());
            let (passed, rest) = bytes.split_at(run.max(1));
            bytes = rest;
            match run {
                0 => self.byte(byte, &mut each),
                _ => self.keep(passed),
            }
            if self.frame.len() > LONGEST_FRAME {
                return Err(NoList("it has too much data besides its items"));
            }
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(Part<'_>)) {
        match (self.text, byte) {
            (Text::Escaped, _) => self.text = Text::Inside,
            (Text::Inside, b'\\') => self.text = Text::Escaped,
            (Text::Inside, b'"') => {
                self.text = Text::Outside;
                if self.item.is_none() && self.depth == 1 {
                    self.last.1 = self.frame.len();
                }
            }
            (Text::Inside, _) => {}
            (Text::Outside, b'"') => {
                self.text = Text::Inside;
                if self.item.is_none() && self.depth == 1 {
                    self.last.0 = self.frame.len() + 1;
                }
            }
            (Text::Outside, b'{' | b'[') => self.open(byte),
            (Text::Outside, b'}' | b']') => {
                if self.closed(byte, each) {
                    return;
                }
            }
            (Text::Outside, _) => {}
        }
        self.keep(&[byte]);
    }

    fn open(&mut self, byte: u8) {
        if let Some(item) = &mut self.item {
            item.depth += 1;
        } else if self.in_items && self.depth == 2 && byte == b'{' {
            self.frame.push(b'0');
            self.buffer.clear();
            self.item = Some(Item { depth: 1, length: 0 });
        } else {
            let key = self.frame.get(self.last.0..self.last.1);
            let after = self.frame.get(self.last.1 + 1..).unwrap_or_default();
            let after = after.iter().filter(|b| !b.is_ascii_whitespace());
            self.in_items |=
                self.depth == 1 && byte == b'[' && key == Some(b"items") && after.eq([b':'].iter());
            self.depth += 1;
        }
    }

    /// Returns true if the byte needs no further handling.
    fn closed(&mut self, byte: u8, each: &mut impl FnMut(Part<'_>)) -> bool {
        let Some(item) = &mut self.item else {
            self.depth = self.depth.saturating_sub(1);
            self.in_items &= self.depth >= 2;
            return false;
        };
        item.depth -= 1;
        if item.depth > 0 {
            return false;
        }
        let whole = item.length < self.longest;
        self.keep(&[byte]);
        self.item = None;
        each(if whole { Part::Whole(&self.buffer) } else { Part::Beginning(&self.buffer) });
        true
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(item) = &mut self.item else {
            self.frame.extend_from_slice(bytes);
            return;
        };
        item.length += bytes.len();
        let room = self.longest.saturating_sub(self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Returns the list without its items, once everything has arrived.
    pub(crate) fn end(self) -> Result<Vec<u8>, NoList> {
        if self.item.is_some() || self.depth > 0 || self.text != Text::Outside {
            return Err(NoList("it is incomplete"));
        }
        Ok(self.frame)
    }
}

/// Splits a watch into its lines while it arrives.
#[derive(Debug)]
pub(crate) struct Lines {
    longest: usize,
    line: Vec<u8>,
    /// The line is longer than the part that is kept.
    cut: bool,
}

impl Lines {
    pub(crate) fn new(longest: usize) -> Self {
        Self { longest, line: Vec::new(), cut: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Part<'_>)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = self.longest - self.line.len();
            self.cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                if self.cut {
                    each(Part::Beginning(&self.line));
                } else if !self.line.trim_ascii().is_empty() {
                    each(Part::Whole(&self.line));
                }
                self.line.clear();
                // Release the space after one long object.
                self.line.shrink_to(KEPT);
                self.cut = false;
            }
        }
    }
}

/// Space for an object of usual length, in bytes.
const KEPT: usize = 64 << 10;

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

//! Reads YAML as Kubernetes' programs do: by `sigs.k8s.io/yaml`, which uses go-yaml v2.
//!
//! go-yaml's scanner is a port of libyaml, as is the crate libyaml-safer. Source of the rest:
//! go-yaml v2 `resolve.go` and `decode.go`, and `YAMLToJSON` of `sigs.k8s.io/yaml`.
//! `yaml_recorded.json` has the answers of `YAMLToJSON`.

use std::{borrow::Cow, collections::HashMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Upper bounds of depth and size. Each use of an alias counts.
const DEEPEST: usize = 64;
const MOST_NODES: usize = 100_000;

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

const ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The first document, as JSON, and the keys that a mapping has more than once. The last one
/// counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct YamlDocument {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// The reason why a text cannot be used. It does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    #[error("it is not valid YAML (line {line}, column {column})")]
    Syntax { line: u64, column: u64 },
    #[error("it declares another version of YAML than 1.1")]
    Version,
    #[error("it has a byte order mark at the start of a line")]
    OrderMark,
    #[error("it uses an alias without an anchor")]
    Anchor,
    #[error("it has an anchor that contains itself, or too many aliases")]
    Aliases,
    #[error("it has a merge key (<<) whose value is not a mapping")]
    Merge,
    #[error("it has a key that cannot be a key of JSON")]
    Key,
    #[error("it has a value that does not fit its tag, or a tag that the agent does not know")]
    Tag,
    #[error("it has a number that JSON cannot express")]
    Number,
    #[error("it is nested deeper than {DEEPEST} levels")]
    Depth,
    #[error("it has more than {MOST_NODES} values")]
    Size,
}

impl YamlError {
    fn at(mark: Mark) -> Self {
        Self::Syntax { line: mark.line + 1, column: mark.column + 1 }
    }
}

/// Parses `text`.
///
/// # Errors
/// The reason why Kubernetes' programs would not read it, or read something else.
pub fn parse(text: &[u8]) -> Result<YamlDocument, YamlError> {
    // The parser skips a mark at the start of each line, go-yaml only that of the text.
    let marks = text.windows(ORDER_MARK.len()).enumerate();
    if marks.filter(|(_, of)| *of == ORDER_MARK).any(|(at, _)| ends_a_line(&text[..at])) {
        return Err(YamlError::OrderMark);
    }
    if has_tag_before_comma(text) {
        return Err(YamlError::Tag);
    }
    let (text, is_longer) = with_last_line_ended(text);
    let mut parser = Parser::new();
    parser.set_input(&*text);
    let mut composer = Composer {
        source: &text,
        parser,
        nodes: Vec::new(),
        anchors: HashMap::new(),
        last_block: None,
    };
    let Some(root) = composer.document()? else { return Ok(YamlDocument::default()) };
    if is_longer {
        composer.shorten_last(text.len());
    }
    let nodes = &composer.nodes;
    let mut decoder =
        Decoder { nodes, open: Vec::new(), duplicates: Vec::new(), decoded: 0, by_alias: 0 };
    let value = decoder.value(root, 0)?;
    Ok(YamlDocument { value: json(value)?, duplicates: decoder.duplicates })
}

fn ends_a_line(text: &[u8]) -> bool {
    ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"].iter().any(|of| text.ends_with(of.as_bytes()))
}

/// Returns true for what may be a tag with a comma behind it: go-yaml rejects it, and the parser
/// panics. It may be a text in quotes, too, which is then not read.
fn has_tag_before_comma(text: &[u8]) -> bool {
    let begins = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        before.is_none_or(|byte| byte.is_ascii_whitespace() || b"[{,:?-\"'".contains(byte))
    };
    let ends = |at: usize| {
        let is_whole = text.get(at + 1) == Some(&b'<');
        let mut rest = text.iter().skip(at);
        if is_whole {
            rest.find(|byte| **byte == b'>' || byte.is_ascii_whitespace());
        }
        rest.find(|byte| **byte == b',' || byte.is_ascii_whitespace()) == Some(&b',')
    };
    let mut tags = text.iter().enumerate().filter(|(_, byte)| **byte == b'!').map(|(at, _)| at);
    tags.any(|at| begins(at) && ends(at))
}

/// Ends the last line: the parser panics at a block scalar that ends without a line break. Returns
/// true if a line break was added, which no block scalar may get.
fn with_last_line_ended(text: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let without_blanks = text.trim_ascii_end();
    let blanks = &text[without_blanks.len()..];
    if blanks.ends_with(b" ") && !blanks.contains(&b'\t') && blanks.contains(&b'\n') {
        let spaces = blanks.iter().rev().take_while(|byte| **byte == b' ').count();
        let text = &text[..text.len() - spaces];
        if text.ends_with(b"\n") {
            return (text.into(), false);
        }
    }
    match text.last() {
        None | Some(b'\n' | b'\r') => (text.into(), false),
        Some(_) => ([text, b"\n"].concat().into(), true),
    }
}

/// A node of the text; a node refers to another by its place in the list.
enum Node {
    Scalar { text: String, tag: Option<String>, is_plain: bool },
    Sequence(Vec<usize>),
    Mapping(Vec<(usize, usize)>),
    Alias(usize),
}

struct Composer<'a> {
    source: &'a [u8],
    parser: Parser<&'a [u8]>,
    nodes: Vec<Node>,
    anchors: HashMap<String, usize>,
    /// The last block scalar, and where it ends.
    last_block: Option<(usize, u64)>,
}

impl Composer<'_> {
    fn next(&mut self) -> Result<Event, YamlError> {
        self.parser.parse().map_err(|error| {
            let at = error.problem_mark().unwrap_or_default();
            YamlError::at(at)
        })
    }

    /// `None` for a text without a document. The text after the first document is not read.
    fn document(&mut self) -> Result<Option<usize>, YamlError> {
        self.next()?;
        let EventData::DocumentStart { version_directive, .. } = self.next()?.data else {
            return Ok(None);
        };
        if version_directive.is_some_and(|version| (version.major, version.minor) != (1, 1)) {
            return Err(YamlError::Version);
        }
        let event = self.next()?;
        let root = self.node(event, 0)?;
        self.next()?;
        Ok(Some(root))
    }

    /// Rejects an escaped slash, which go-yaml does not know.
    fn check_escapes(&self, start: Mark, end: Mark) -> Result<(), YamlError> {
        let at = |mark: Mark| usize::try_from(mark.index).unwrap_or(usize::MAX);
        let mut bytes = self.source.get(at(start)..at(end)).unwrap_or_default().iter();
        while let Some(byte) = bytes.next() {
            if *byte == b'\\' && bytes.next() == Some(&b'/') {
                return Err(YamlError::at(start));
            }
        }
        Ok(())
    }

    /// Removes the line break that was added to a block scalar which ends with the text.
    fn shorten_last(&mut self, length: usize) {
        let is_last = |at: u64| usize::try_from(at).is_ok_and(|at| at >= length);
        if let Some((block, _)) = self.last_block.filter(|(_, at)| is_last(*at))
            && let Node::Scalar { text, .. } = &mut self.nodes[block]
            && text.ends_with('\n')
        {
            text.pop();
        }
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<usize, YamlError> {
        if depth > DEEPEST {
            return Err(YamlError::Depth);
        }
        let at = self.nodes.len();
        if at >= MOST_NODES {
            return Err(YamlError::Size);
        }
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit, style, .. } => {
                match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        self.last_block = Some((at, event.end_mark.index));
                    }
                    ScalarStyle::DoubleQuoted => {
                        self.check_escapes(event.start_mark, event.end_mark)?
                    }
                    _ => {}
                }
                self.nodes.push(Node::Scalar { text: value, tag, is_plain: plain_implicit });
                self.anchors.extend(anchor.map(|name| (name, at)));
            }
            EventData::SequenceStart { anchor, .. } => {
                self.nodes.push(Node::Sequence(Vec::new()));
                // An alias may be in what its anchor names.
                self.anchors.extend(anchor.map(|name| (name, at)));
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    match event.data {
                        EventData::SequenceEnd | EventData::StreamEnd => break,
                        _ => items.push(self.node(event, depth + 1)?),
                    }
                }
                self.nodes[at] = Node::Sequence(items);
            }
            EventData::MappingStart { anchor, .. } => {
                self.nodes.push(Node::Mapping(Vec::new()));
                self.anchors.extend(anchor.map(|name| (name, at)));
                let mut entries = Vec::new();
                loop {
                    let event = self.next()?;
                    let key = match event.data {
                        EventData::MappingEnd | EventData::StreamEnd => break,
                        _ => self.node(event, depth + 1)?,
                    };
                    let event = self.next()?;
                    entries.push((key, self.node(event, depth + 1)?));
                }
                self.nodes[at] = Node::Mapping(entries);
            }
            EventData::Alias { anchor } => {
                let meant = *self.anchors.get(&anchor).ok_or(YamlError::Anchor)?;
                self.nodes.push(Node::Alias(meant));
            }
            // The parser does not give another event here.
            _ => self.nodes.push(Node::Sequence(Vec::new())),
        }
        Ok(at)
    }
}

/// A value as go-yaml decodes it without a type to decode into.
#[derive(Clone, Debug, PartialEq)]
enum Decoded {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Decoded>),
    Map(Vec<(Decoded, Decoded)>),
}

struct Decoder<'a> {
    nodes: &'a [Node],
    /// The aliases that are being decoded.
    open: Vec<usize>,
    duplicates: Vec<String>,
    decoded: usize,
    by_alias: usize,
}

impl Decoder<'_> {
    fn value(&mut self, at: usize, depth: usize) -> Result<Decoded, YamlError> {
        self.count(depth)?;
        match &self.nodes[at] {
            Node::Scalar { text, tag, is_plain } => scalar(text, tag.as_deref(), *is_plain),
            Node::Sequence(items) => {
                let items = items.iter().map(|item| self.value(*item, depth + 1));
                items.collect::<Result<_, _>>().map(Decoded::List)
            }
            Node::Mapping(_) => {
                let mut entries = Vec::new();
                self.entries(at, &mut entries, depth)?;
                Ok(Decoded::Map(entries))
            }
            Node::Alias(meant) => self.alias(at, |decoder| decoder.value(*meant, depth + 1)),
        }
    }

    /// Puts the entries of a mapping into `map`. A merge key does so where it stands: it overrides
    /// what is before it, and what is after it overrides it.
    fn entries(
        &mut self,
        at: usize,
        map: &mut Vec<(Decoded, Decoded)>,
        depth: usize,
    ) -> Result<(), YamlError> {
        let Node::Mapping(entries) = &self.nodes[at] else { return Err(YamlError::Merge) };
        for (key, value) in entries {
            if self.is_merge(*key) {
                match &self.nodes[*value] {
                    // Earlier ones take precedence.
                    Node::Sequence(items) => {
                        for item in items.iter().rev() {
                            self.merge(*item, map, depth)?;
                        }
                    }
                    _ => self.merge(*value, map, depth)?,
                }
                continue;
            }
            let key = self.value(*key, depth + 1)?;
            if matches!(key, Decoded::List(_) | Decoded::Map(_)) {
                return Err(YamlError::Key);
            }
            let value = self.value(*value, depth + 1)?;
            match map.iter_mut().find(|(known, _)| *known == key) {
                Some((_, before)) => {
                    self.duplicates.extend(key_text(&key));
                    *before = value;
                }
                None => map.push((key, value)),
            }
        }
        Ok(())
    }

    fn merge(
        &mut self,
        at: usize,
        map: &mut Vec<(Decoded, Decoded)>,
        depth: usize,
    ) -> Result<(), YamlError> {
        self.count(depth)?;
        match self.nodes[at] {
            Node::Alias(meant) => self.alias(at, |decoder| {
                decoder.count(depth + 1)?;
                decoder.entries(meant, map, depth + 1)
            }),
            _ => self.entries(at, map, depth + 1),
        }
    }

    fn alias<T>(
        &mut self,
        at: usize,
        decode: impl FnOnce(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        if self.open.contains(&at) {
            return Err(YamlError::Aliases);
        }
        self.open.push(at);
        let decoded = decode(self);
        self.open.pop();
        decoded
    }

    fn is_merge(&self, at: usize) -> bool {
        matches!(&self.nodes[at], Node::Scalar { text, tag, is_plain }
            if text == "<<" && (*is_plain || tag.as_deref() == Some("tag:yaml.org,2002:merge")))
    }

    fn count(&mut self, depth: usize) -> Result<(), YamlError> {
        self.decoded += 1;
        self.by_alias += usize::from(!self.open.is_empty());
        // go-yaml's bound: 99 % of the values.
        if self.by_alias > 100 && self.decoded > 1000 && self.by_alias * 100 > self.decoded * 99 {
            return Err(YamlError::Aliases);
        }
        match (depth > DEEPEST, self.decoded > MOST_NODES) {
            (true, _) => Err(YamlError::Depth),
            (_, true) => Err(YamlError::Size),
            _ => Ok(()),
        }
    }
}

/// go-yaml's `resolve`.
fn scalar(text: &str, tag: Option<&str>, is_plain: bool) -> Result<Decoded, YamlError> {
    let as_text = || Decoded::Text(text.to_owned());
    let Some(tag) = tag else {
        return Ok(if is_plain { plain(text) } else { as_text() });
    };
    let found = plain(text);
    match (tag.strip_prefix(TAG_PREFIX), found) {
        (Some("bool"), found @ Decoded::Bool(_))
        | (Some("int"), found @ (Decoded::Int(_) | Decoded::Uint(_)))
        | (Some("float"), found @ Decoded::Float(_))
        | (Some("null"), found @ Decoded::Null) => Ok(found),
        #[expect(clippy::cast_precision_loss, reason = "as go-yaml does")]
        (Some("float"), Decoded::Int(value)) => Ok(Decoded::Float(value as f64)),
        // Of timestamps, this module does not know which go-yaml accepts.
        (Some("bool" | "int" | "float" | "null" | "timestamp"), _) => Err(YamlError::Tag),
        (Some("binary"), _) => {
            let joined: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            let bytes = STANDARD.decode(joined).map_err(|_| YamlError::Tag)?;
            Ok(Decoded::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Ok(as_text()),
    }
}

/// Resolves a scalar without a tag and without quotes.
fn plain(text: &str) -> Decoded {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Decoded::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Decoded::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Decoded::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Decoded::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Decoded::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Decoded::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        // Underscores are allowed between digits only.
        Some(b'.') if separates(text) => float(&text.replace('_', "")),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    };
    number.unwrap_or_else(|| Decoded::Text(text.to_owned()))
}

fn separates(text: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    text.match_indices('_')
        .all(|(at, _)| at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1)))
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0. A prefix `0b` or `-0b` may have a sign
/// behind it.
fn integer(text: &str) -> Option<Decoded> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((radix, lower.strip_prefix(prefix)?)))
        .or_else(|| Some((8, lower.strip_prefix('0').filter(|rest| !rest.is_empty())?)))
        .unwrap_or((10, &lower));
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => Some(Decoded::Int(value)),
        (_, Ok(value)) if !text.starts_with('+') => Some(Decoded::Uint(value)),
        _ => None,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, which fits 64 bits.
fn float(text: &str) -> Option<Decoded> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(Decoded::Float(value))
}

/// The text of a key; `None` if it cannot be a key of JSON.
fn key_text(key: &Decoded) -> Option<String> {
    Some(match key {
        Decoded::Text(text) => text.clone(),
        Decoded::Int(value) => value.to_string(),
        Decoded::Bool(value) => value.to_string(),
        Decoded::Float(value) if value.is_nan() => ".nan".to_owned(),
        Decoded::Float(value) if value.is_infinite() => {
            if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned()
        }
        #[expect(clippy::cast_possible_truncation, reason = "as sigs.k8s.io/yaml does")]
        Decoded::Float(value) => (*value as f32).to_string(),
        Decoded::Null | Decoded::Uint(_) | Decoded::List(_) | Decoded::Map(_) => return None,
    })
}

fn json(value: Decoded) -> Result<Value, YamlError> {
    Ok(match value {
        Decoded::Null => Value::Null,
        Decoded::Bool(value) => value.into(),
        Decoded::Int(value) => value.into(),
        Decoded::Uint(value) => value.into(),
        Decoded::Float(value) => Value::Number(Number::from_f64(value).ok_or(YamlError::Number)?),
        Decoded::Text(text) => text.into(),
        Decoded::List(items) => items.into_iter().map(json).collect::<Result<_, _>>()?,
        Decoded::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key_text(&key).ok_or(YamlError::Key)?, json(value)?);
            }
            Value::Object(map)
        }
    })
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

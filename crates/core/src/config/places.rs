//! Finds the lines of a TOML file that hold a setting, so that a command can remove exactly them.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::value::Removal;

/// At most this many lines with syntax errors are commented out; a file with more is set aside.
const MOST_BROKEN_LINES: usize = 3;

/// The text of a file, with the offset in bytes at which each line ends.
#[derive(Debug)]
pub(super) struct Places<'a> {
    text: &'a str,
    ends: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    /// Line numbers start at 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }

    /// Returns how to remove `name` with its value. A table has more than one place if other tables
    /// stand between its parts.
    pub(crate) fn removal(
        &self,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        inline: bool,
    ) -> Vec<Removal> {
        if inline {
            return self.cuts(name.span().start, value).unwrap_or_default();
        }
        let mut spans = vec![name.span()];
        collect(value, &mut spans);
        let lines = spans.iter().map(|span| {
            let last = span.end.saturating_sub(1).max(span.start);
            (self.line(span.start), self.line(last))
        });
        merged(lines.collect())
            .into_iter()
            .map(|(first, last)| Removal::CommentOut { first, last })
            .collect()
    }

    /// Cuts a key out of an inline table. Dotted keys may have several places there.
    fn cuts(&self, name: usize, value: &Spanned<DeValue<'_>>) -> Option<Vec<Removal>> {
        if let DeValue::Table(table) = value.get_ref()
            && !self.is_inline(value)
        {
            let parts = table.iter().map(|(name, value)| self.cuts(name.span().start, value));
            return Some(parts.collect::<Option<Vec<_>>>()?.concat());
        }
        // A dotted key begins before the part that is the key of its value.
        let start = self.text[..name].rfind([',', '{'])? + 1;
        let end = value.span().end;
        let line = self.line(start);
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let (after, letters) = (&self.text[begin..start], &self.text[start..end]);
        let [after, letters] = [after, letters].map(|text| text.chars().count());
        (self.line(end) == line).then(|| vec![Removal::Cut { line, after, letters }])
    }

    /// Returns the lines with syntax errors, if the file is valid TOML without them. A header goes
    /// with its table, whose keys would become part of the table before.
    pub(crate) fn without_errors(&self, broken: &[usize]) -> Vec<Removal> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_header =
            |line: usize| lines.get(line - 1).is_some_and(|l| l.trim_start().starts_with('['));
        let ranges = merged(
            broken
                .iter()
                .map(|&line| match is_header(line) {
                    true => {
                        let next = (line + 1..=lines.len()).find(|&below| is_header(below));
                        (line, next.unwrap_or(lines.len() + 1) - 1)
                    }
                    false => (line, line),
                })
                .collect(),
        );
        let is_out =
            |line: usize| ranges.iter().any(|(first, last)| (*first..=*last).contains(&line));
        let rest: String = lines
            .iter()
            .enumerate()
            .map(
                |(index, line)| {
                    if is_out(index + 1) { "\n".to_owned() } else { format!("{line}\n") }
                },
            )
            .collect();
        if broken.len() > MOST_BROKEN_LINES || DeTable::parse(&rest).is_err() {
            return Vec::new();
        }
        ranges.into_iter().map(|(first, last)| Removal::CommentOut { first, last }).collect()
    }

    pub(crate) fn is_inline(&self, value: &Spanned<DeValue<'_>>) -> bool {
        matches!(value.get_ref(), DeValue::Table(_))
            && self.text[value.span().start..].starts_with('{')
    }
}

/// Adds the places of a value, and of everything in it.
fn collect(value: &Spanned<DeValue<'_>>, spans: &mut Vec<std::ops::Range<usize>>) {
    spans.push(value.span());
    match value.get_ref() {
        DeValue::Table(table) => {
            for (name, value) in table {
                spans.push(name.span());
                collect(value, spans);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| collect(item, spans)),
        _ => {}
    }
}

/// Joins ranges of lines that overlap or touch.
fn merged(mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    ranges.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

//! The rules for texts.

use std::{collections::BTreeSet, fs, path::Path};

/// The most words of a sentence, up to a full stop, semicolon or colon, in documents.
const LONGEST: usize = 25;

/// The same in strings and comments, which also contain names and paths.
const LONGEST_IN_CODE: usize = 28;

/// Nouns that follow a number; `wasp_core::model::counted` selects their form.
const COUNTED: &[&str] = &[
    "pods",
    "containers",
    "limits",
    "failures",
    "evictions",
    "times",
    "minutes",
    "VMs",
    "restarts",
    "lines",
    "nodes",
    "problems",
    "files",
    "drop-ins",
    "outages",
    "repairs",
];

/// Participles that do not end in `ed`.
const PARTICIPLES: &[&str] = &[
    "set", "read", "made", "done", "kept", "told", "known", "given", "written", "found", "seen",
    "sent", "taken", "held", "left", "put",
];

/// Programs and users that should be the subject of a sentence.
const ACTORS: &[&str] = &[
    "agent",
    "kubelet",
    "kernel",
    "hook",
    "systemd",
    "runtime",
    "administrator",
    "user",
    "command",
    "script",
];

#[derive(Debug)]
pub(crate) struct Finding {
    pub rule: &'static str,
    pub what: String,
}

#[derive(Debug)]
pub(crate) struct Rules {
    /// Banned sequences of words, in lower case.
    banned: Vec<Vec<String>>,
    longest: usize,
    numbers: bool,
}

/// Returns the words of a text in lower case, without the marks around them.
fn words(text: &str) -> Vec<String> {
    let edge = |c: char| !c.is_alphanumeric();
    let words = text.split_whitespace().map(|word| word.trim_matches(edge).to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

impl Rules {
    /// For strings in code.
    pub(crate) fn of_strings(glossary: &Path) -> Self {
        Self { numbers: true, ..Self::of_comments(glossary) }
    }

    pub(crate) fn of_comments(glossary: &Path) -> Self {
        Self { longest: LONGEST_IN_CODE, ..Self::of_documents(glossary) }
    }

    pub(crate) fn of_documents(glossary: &Path) -> Self {
        let text = fs::read_to_string(glossary).unwrap();
        let banned: BTreeSet<Vec<String>> = banned(&text).iter().map(|not| words(not)).collect();
        assert!(banned.len() > 10, "{} has no column Not", glossary.display());
        Self { banned: banned.into_iter().collect(), longest: LONGEST, numbers: false }
    }

    pub(crate) fn check(&self, whole: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |rule, what: String| findings.push(Finding { rule, what });
        let text = &without_placeholders(whole);
        let all = words(text);
        for banned in &self.banned {
            let count = all.windows(banned.len()).filter(|window| window == banned).count();
            (0..count).for_each(|_| add("word", banned.join(" ")));
        }
        for sentence in sentences(text) {
            let words = words(sentence);
            if words.len() > self.longest {
                add("length", format!("{} words: {sentence}", words.len()));
            }
            if let Some(passive) = passive(&words) {
                add("passive", passive);
            }
            if let Some(first) = noun_clause(sentence, &words) {
                add("subject", first);
            }
            if let Some(last) = verb_last(sentence, &words) {
                add("verb last", last);
            }
        }
        if self.numbers
            && let Some(noun) = beside_number(whole)
        {
            add("plural", format!("{noun}: use model::counted"));
        }
        findings
    }
}

/// Removes names in braces, which only the compiler reads.
fn without_placeholders(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain += before;
        plain += "X";
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Returns the cells of the column `Not`, one entry for each word or phrase.
fn banned(glossary: &str) -> Vec<String> {
    let mut column = None;
    let mut found = Vec::new();
    for line in glossary.lines() {
        let Some(row) = line.strip_prefix('|') else {
            column = None;
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        match column {
            None => column = cells.iter().position(|cell| *cell == "Not"),
            Some(at) => {
                let cell = cells.get(at).copied().unwrap_or("-");
                let words = cell.split(',').map(str::trim);
                let is_word = |word: &&str| word.chars().any(char::is_alphabetic);
                found.extend(words.filter(is_word).map(str::to_owned));
            }
        }
    }
    found
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = [". ", "; ", ": ", "? ", ".\n", ":\n", "\n\n"];
        let end = ends.iter().filter_map(|end| rest.find(end).map(|at| at + end.len())).min();
        let (sentence, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(sentence.trim())
    })
}

/// Finds passives such as `is read by the agent`, which should have the agent as the subject.
fn passive(words: &[String]) -> Option<String> {
    let to_be = |word: &str| matches!(word, "is" | "are" | "was" | "were" | "be" | "been");
    let participle = |word: &str| word.ends_with("ed") || PARTICIPLES.contains(&word);
    words.windows(5).find_map(|w| {
        let by = to_be(&w[0]) && participle(&w[1]) && w[2] == "by";
        let named = |word: &str| ACTORS.contains(&word);
        let actor = named(&w[3]) || (w[3] == "the" && named(&w[4]));
        (by && actor).then(|| w.join(" "))
    })
}

/// Finds sentences that end with a form of `to be`, such as `whatever its configuration is`.
fn verb_last(sentence: &str, words: &[String]) -> Option<String> {
    let last = words.last()?;
    let to_be = matches!(&**last, "is" | "are" | "was" | "were" | "be" | "been");
    // `The causes are:` introduces a list.
    let introduces = sentence.ends_with(':') || sentence.contains('?');
    (to_be && words.len() > 3 && !introduces).then(|| words[words.len() - 3..].join(" "))
}

/// Finds clauses instead of a noun, such as `What the agent sees is …` or `Who sets a limit …`,
/// except questions.
fn noun_clause(sentence: &str, words: &[String]) -> Option<String> {
    let first = words.first()?;
    let clause = matches!(&**first, "what" | "who" | "whoever") && words.len() > 3;
    (clause && sentence.starts_with('W') && !sentence.contains('?')).then(|| words[..4].join(" "))
}

/// Finds `{count} pods`, which is wrong for 1.
fn beside_number(text: &str) -> Option<&str> {
    text.match_indices("} ").find_map(|(at, _)| {
        let noun = text[at + 2..].split(|c: char| !c.is_alphanumeric() && c != '-').next()?;
        let open = text[..at].rfind('{')?;
        // Constants are greater than 1, and a number with decimals is no count.
        let name = &text[open + 1..at];
        let varies = !name.contains(':') && name.chars().all(|c| !c.is_ascii_uppercase());
        let count = varies && COUNTED.contains(&noun);
        count.then_some(noun)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            banned: vec![vec!["mend".into()], vec!["put".into(), "back".into()]],
            longest: LONGEST,
            numbers: true,
        }
    }

    fn found(text: &str) -> Vec<&'static str> {
        rules().check(text).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        assert_eq!(found("Mend the file, then recommend it."), ["word"]);
        assert_eq!(found("The limit is put back."), ["word"]);
        assert_eq!(found("The file is read by the agent immediately."), ["passive"]);
        assert_eq!(found("It stops, whatever its configuration is."), ["verb last"]);
        assert_eq!(found("What the kubelet grants counts here."), ["subject"]);
        assert_eq!(found("{count} pods cannot be read"), ["plural"]);
        assert_eq!(found(&"word ".repeat(LONGEST + 1)), ["length"]);
        assert_eq!(found(&"word ".repeat(LONGEST)), [""; 0]);
        let plain = "The agent reads the file. What does it do? It sets {limit}; then it logs. The \
            causes are:";
        assert_eq!(found(plain), [""; 0]);
    }

    #[test]
    fn the_column_is_found_by_its_name() {
        let text = "# Words\n\n| Use | Not | Meaning |\n|---|---|---|\n| fix | mend, put back | x |\n| log | - | y |\n";
        assert_eq!(banned(text), ["mend", "put back"]);
    }
}

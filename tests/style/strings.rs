//! String literals of code, and the texts of the command line.

use std::{fs, path::Path, str::FromStr};

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};

use super::{Text, named};

/// Macros whose texts only developers see.
const FOR_DEVELOPERS: &[&str] =
    &["assert", "assert_eq", "debug_assert", "debug", "trace", "unreachable"];

/// Words from which a literal is a text and no key, path or name.
const FEWEST: usize = 3;

/// The texts in code of a file; tests, attributes other than `#[error(…)]` and comments are left out.
pub(crate) fn of(path: &Path) -> Vec<Text> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let for_tests =
        name.contains("test") || matches!(name, "fixtures.rs" | "sim.rs" | "properties.rs");
    if for_tests {
        return Vec::new();
    }
    let code = fs::read_to_string(path).unwrap();
    let tokens =
        TokenStream::from_str(&code).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut literals = Vec::new();
    collect(tokens, &mut literals);
    let texts = literals.into_iter().filter_map(|literal| {
        let text = value(&literal.to_string())?;
        let is_word = |word: &&str| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
        let words = text.split_whitespace().filter(is_word).count();
        // A span has no place without a feature for which all of the build's macros were built again.
        let place = code.find(&literal.to_string()).unwrap_or(0);
        let line = code[..place].lines().count().max(1);
        (words >= FEWEST).then(|| Text { file: named(path), line, text })
    });
    texts.collect()
}

fn collect(tokens: TokenStream, found: &mut Vec<Literal>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut skips_item = false;
    let mut words = [String::new(), String::new()];
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if let Some(TokenTree::Punct(inner)) = tokens.peek()
                    && inner.as_char() == '!'
                {
                    tokens.next();
                }
                if let Some(TokenTree::Group(group)) = tokens.peek()
                    && group.delimiter() == Delimiter::Bracket
                {
                    let text = group.stream().to_string();
                    skips_item |= text.replace(' ', "") == "cfg(test)";
                    if text.starts_with("error") {
                        collect(group.stream(), found);
                    }
                    tokens.next();
                }
                words = [String::new(), "#".to_owned()];
            }
            TokenTree::Group(group) => {
                let [before, last] = &words;
                let for_developers = last == "!" && FOR_DEVELOPERS.contains(&&**before);
                let skipped = skips_item && group.delimiter() == Delimiter::Brace;
                if !for_developers && !skipped {
                    collect(group.stream(), found);
                }
                skips_item &= group.delimiter() != Delimiter::Brace;
                words = Default::default();
            }
            TokenTree::Literal(literal) => found.push(literal),
            TokenTree::Ident(ident) => words = [std::mem::take(&mut words[1]), ident.to_string()],
            TokenTree::Punct(punct) => {
                skips_item &= punct.as_char() != ';';
                words = [std::mem::take(&mut words[1]), punct.as_char().to_string()];
            }
        }
    }
}

/// The value of a string literal, as far as its words matter; `None` for all other literals.
fn value(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('r') {
        return Some(raw.trim_matches('#').trim_matches('"').to_owned());
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next()? {
                'n' => text.push('\n'),
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                other => text.push(other),
            },
            (c, false) => text.push(c),
        }
    }
    Some(text)
}

/// Help of every command and option.
pub(crate) fn help() -> Vec<Text> {
    let mut texts = Vec::new();
    let mut open = vec![wasp_agent::cli::command()];
    while let Some(command) = open.pop() {
        let name = command.get_name().to_owned();
        let mut add = |what: &str, help: Option<String>| {
            let file = format!("help of {name} {what}");
            texts.extend(help.map(|text| Text { file: file.trim().to_owned(), line: 0, text }));
        };
        add("", command.get_about().map(ToString::to_string));
        for argument in command.get_arguments() {
            add(argument.get_id().as_str(), argument.get_help().map(ToString::to_string));
        }
        open.extend(command.get_subcommands().cloned());
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_for_users_are_taken() {
        let code = r##"
            //! A comment with three words.
            #[error("cannot read {path} at all")]
            #[expect(dead_code, reason = "a remark for developers")]
            fn f() {
                assert!(x, "only a test sees this");
                say("the agent \
                     reads it", r#"printf 'raw texts too'"#, 'c', 7);
            }
            #[cfg(test)]
            mod tests { fn g() { say("nobody reads this text"); } }
            const AFTER: &str = "what comes after counts";
        "##;
        let mut found = Vec::new();
        collect(TokenStream::from_str(code).unwrap(), &mut found);
        let texts: Vec<String> = found.iter().filter_map(|l| value(&l.to_string())).collect();
        let expected = [
            "cannot read {path} at all",
            "the agent reads it",
            "printf 'raw texts too'",
            "what comes after counts",
        ];
        assert_eq!(texts, expected);
    }
}

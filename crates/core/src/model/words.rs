//! Vocabularies: sets of words that the configuration, the journal, metrics, JSON and documents share.

/// A closed set of words, each typed once, where its enum is declared with [`vocabulary!`](crate::vocabulary).
pub trait Vocabulary: Copy + Sized + 'static {
    /// Every value, in the order of declaration.
    const ALL: &'static [Self];
    /// The words of [`Vocabulary::ALL`].
    const WORDS: &'static [&'static str];

    /// The word for this value, wherever people or programs read it.
    fn word(self) -> &'static str;

    /// Returns the value with this word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }
}

/// Declares an enum of unit variants with a word for each: `Variant = "word"`.
///
/// Implements [`Vocabulary`], an inherent `word()`, and serde by the word.
#[macro_export]
macro_rules! vocabulary {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// The word for this value, wherever people or programs read it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::model::words::Vocabulary for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn word(self) -> &'static str {
                Self::word(self)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use $crate::model::words::Vocabulary;
                let word = <::std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::from_word(&word)
                    .ok_or_else(|| ::serde::de::Error::unknown_variant(&word, Self::WORDS))
            }
        }
    };
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares words for other modules")]
mod tests {
    use super::*;

    crate::vocabulary! {
        /// Two words.
        pub enum Sample {
            /// The first.
            First = "first",
            SecondOne = "second-one",
        }
    }

    #[test]
    fn a_word_is_read_as_it_is_written() {
        assert_eq!(Sample::WORDS, ["first", "second-one"]);
        for (value, word) in Sample::ALL.iter().zip(Sample::WORDS) {
            assert_eq!((value.word(), Sample::from_word(word)), (*word, Some(*value)));
            let json = serde_json::to_string(value).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), *value);
        }
        let error = serde_json::from_str::<Sample>("\"third\"").unwrap_err().to_string();
        assert!(
            error.contains("unknown variant `third`, expected `first` or `second-one`"),
            "{error}"
        );
    }
}

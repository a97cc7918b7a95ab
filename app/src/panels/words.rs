//! What the pocket model knows: its word list, for completion and for marking words it does not know.

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use serde::Deserialize;

/// One thing the pocket model can paint.
#[derive(Clone, Debug, Deserialize)]
pub struct Word {
    /// Its name.
    #[serde(rename = "word")]
    pub name: String,
    /// Group it belongs to, such as "scenery".
    pub category: String,
    /// Other names of it.
    #[serde(default)]
    pub synonyms: Vec<String>,
    /// Prompts that work well.
    #[serde(default)]
    pub sample_prompts: Vec<String>,
    /// Left top corner of its picture on the sheet.
    #[serde(default)]
    pub thumbnail: Option<[u32; 2]>,
}

/// The word list.
#[derive(Debug, Default)]
pub struct WordList {
    words: Vec<Word>,
    /// Every name in lower case, with the word it means; `None` for words without a picture of their own.
    names: BTreeMap<String, Option<usize>>,
    longest_name: usize,
}

#[derive(Deserialize)]
struct WordFile {
    words: Vec<Word>,
}

/// Words that join others; they never need a mark.
const JOINING: [&str; 42] = [
    "a",
    "an",
    "the",
    "of",
    "on",
    "in",
    "at",
    "and",
    "with",
    "by",
    "to",
    "over",
    "under",
    "above",
    "below",
    "near",
    "behind",
    "background",
    "simple",
    "plain",
    "large",
    "big",
    "small",
    "little",
    "tall",
    "old",
    "new",
    "bright",
    "dark",
    "soft",
    "many",
    "one",
    "two",
    "three",
    "some",
    "photo",
    "picture",
    "painting",
    "image",
    "beautiful",
    "detailed",
    "is",
];

/// The embedded model's word list.
pub static POCKET: LazyLock<WordList> = LazyLock::new(|| {
    WordList::from_json(include_str!("../../../assets/pocket/words.json")).unwrap_or_else(|error| {
        tracing::error!("the embedded word list cannot be read: {error}");
        WordList::default()
    })
});

/// A name that completes what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// The text to put in.
    pub text: &'a str,
    /// Group it belongs to.
    pub category: &'a str,
    /// Left top corner of its picture on the sheet.
    pub thumbnail: Option<[u32; 2]>,
}

impl Word {
    /// Whether it, another name of it or its group holds what is looked for.
    pub fn answers(&self, query: &str) -> bool {
        let query = query.to_lowercase();
        let names = self.synonyms.iter().chain([&self.name, &self.category]);
        names
            .map(|name| name.to_lowercase())
            .any(|name| name.contains(&query))
    }
}

impl WordList {
    /// Reads the list's JSON.
    ///
    /// # Errors
    /// If it is not such a file.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        let file: WordFile = serde_json::from_str(text)?;
        let mut names: BTreeMap<String, Option<usize>> =
            JOINING.iter().map(|word| ((*word).to_owned(), None)).collect();
        for (index, word) in file.words.iter().enumerate() {
            for synonym in &word.synonyms {
                names.insert(synonym.to_lowercase(), Some(index));
            }
        }
        // A word of its own wins over another's synonym.
        for (index, word) in file.words.iter().enumerate() {
            names.insert(word.name.to_lowercase(), Some(index));
        }
        let longest_name = names
            .keys()
            .map(|name| name.split(' ').count())
            .max()
            .unwrap_or(1);
        Ok(Self {
            words: file.words,
            names,
            longest_name,
        })
    }

    /// All words in their order.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The groups, in the order of their first words.
    pub fn categories(&self) -> Vec<&str> {
        let mut categories = Vec::new();
        for word in &self.words {
            if !categories.contains(&word.category.as_str()) {
                categories.push(word.category.as_str());
            }
        }
        categories
    }

    /// The byte ranges of the words in a prompt that the model does not know.
    pub fn unknown(&self, prompt: &str) -> Vec<Range<usize>> {
        let spans = word_spans(prompt);
        let mut unknown = Vec::new();
        let mut at = 0;
        while at < spans.len() {
            let most = self.longest_name.min(spans.len() - at);
            let known = (1..=most).rev().find(|&count| {
                let phrase: Vec<_> = spans[at..at + count]
                    .iter()
                    .map(|span| prompt[span.clone()].to_lowercase())
                    .collect();
                self.knows(&phrase.join(" "))
            });
            if known.is_none() {
                unknown.push(spans[at].clone());
            }
            at += known.unwrap_or(1);
        }
        unknown
    }

    /// Whether a name, or its singular, is known.
    fn knows(&self, name: &str) -> bool {
        let singular = |ending: &str| {
            name.strip_suffix(ending)
                .is_some_and(|stem| self.names.contains_key(stem))
        };
        self.names.contains_key(name)
            || singular("s")
            || singular("es")
            || name.chars().all(|character| character.is_ascii_digit())
    }

    /// Names that go on from the words at the end of `before_cursor`, best first, with the bytes they replace.
    pub fn completions(&self, before_cursor: &str, most: usize) -> (Range<usize>, Vec<Completion<'_>>) {
        let spans = word_spans(before_cursor);
        if spans.last().is_none_or(|last| last.end != before_cursor.len()) {
            return (0..0, Vec::new());
        }
        // "night s" means the night sky, not every word with an s.
        let most_words = self.longest_name.min(spans.len());
        (1..=most_words)
            .rev()
            .map(|count| spans[spans.len() - count].start..before_cursor.len())
            .map(|typed| (typed.clone(), self.beginning_with(&before_cursor[typed], most)))
            .find(|(_, found)| !found.is_empty())
            .unwrap_or_default()
    }

    /// Names that go on from `typed`, short ones first.
    fn beginning_with(&self, typed: &str, most: usize) -> Vec<Completion<'_>> {
        let typed = typed.to_lowercase();
        let mut found: Vec<Completion<'_>> = Vec::new();
        for (name, index) in self.names.range(typed.clone()..) {
            if !name.starts_with(&typed) || found.len() == most {
                break;
            }
            let Some(word) = index.and_then(|index| self.words.get(index)) else {
                continue;
            };
            if *name != typed {
                found.push(Completion {
                    text: name,
                    category: &word.category,
                    thumbnail: word.thumbnail,
                });
            }
        }
        found.sort_by_key(|completion| completion.text.len());
        found
    }
}

/// Byte ranges of the words: letters, digits, apostrophes; hyphens join.
fn word_spans(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices() {
        let belongs = character.is_alphanumeric() || character == '\'' || character == '-';
        match (start, belongs) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                spans.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    spans.extend(start.map(|from| from..text.len()));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::palette::built_in;

    fn list() -> WordList {
        WordList::from_json(
            r#"{"version":1,"words":[
                {"word":"night sky","category":"scenery","synonyms":["starry night"],"thumbnail":[0,0]},
                {"word":"tree","category":"object"},
                {"word":"treasure chest","category":"object"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn only_words_outside_the_list_are_marked() {
        let prompt = "a large Tree, quantum trees under a starry night";
        let marked: Vec<_> = list()
            .unknown(prompt)
            .into_iter()
            .map(|span| &prompt[span])
            .collect();
        assert_eq!(marked, ["quantum"]);
    }

    #[test]
    fn parts_of_a_name_alone_are_not_known() {
        assert_eq!(list().unknown("night").len(), 1);
        assert!(list().unknown("night sky").is_empty());
    }

    #[test]
    fn completion_replaces_the_last_word_and_prefers_short_names() {
        let list = list();
        let (range, found) = list.completions("a big tre", 5);
        assert_eq!(range, 6..9);
        let texts: Vec<_> = found.iter().map(|completion| completion.text).collect();
        assert_eq!(texts, ["tree", "treasure chest"]);
        assert!(list.completions("tree ", 5).1.is_empty());
        let (range, found) = list.completions("a wide night s", 5);
        assert_eq!((range, found[0].text), (7..14, "night sky"));
        assert!(list.completions("", 5).1.is_empty());
    }

    #[test]
    fn the_embedded_list_is_read() {
        assert!(POCKET.words().len() > 20);
        assert!(POCKET.unknown("a tree on grass under a sunset sky").is_empty());
    }

    #[test]
    fn the_embedded_model_knows_every_word_of_its_palettes() {
        let palettes = built_in();
        let for_pocket: Vec<_> = palettes
            .iter()
            .filter(|palette| palette.model == "pocket")
            .collect();
        assert_eq!(for_pocket.len(), 3);
        for palette in for_pocket {
            let brushes = palette.brushes.iter().map(|brush| &brush.words);
            for words in brushes.chain([&palette.background]) {
                let unknown = POCKET.unknown(&words.prompt);
                assert!(unknown.is_empty(), "{}: {:?}", palette.title, words.prompt);
            }
        }
    }
}

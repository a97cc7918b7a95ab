//! CLIP's byte-pair encoding, through the crate `tokenizers`.
//!
//! A [`PromptTokenizer`] is made from the bytes of `vocab.json` and `merges.txt`, or of `tokenizer.json`; it knows
//! nothing of files. Text is brought to NFC, lower case and single spaces, cut into words by CLIP's pattern, and each
//! word into tokens. Start, end and padding are added here, so that every prompt gives the same number of ids.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::{
    AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::{BPE, Vocab},
    normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence as PreTokenizers,
        split::{Split, SplitPattern},
    },
};

use crate::error::json_reason;

/// Marks the end of a word in CLIP's vocabularies.
const WORD_END: &str = "</w>";
/// What CLIP calls a word.
const WORD_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// A longer vocabulary than this is no CLIP vocabulary, and would take long to read.
const MAX_VOCABULARY: usize = 1_000_000;

/// Why a tokenizer cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenizerError {
    /// A file is not what it should be.
    #[error("{file} cannot be used: {reason}")]
    File {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is neither `vocab.json` with `merges.txt` nor `tokenizer.json`.
    #[error("it has neither vocab.json with merges.txt nor tokenizer.json")]
    NoVocabulary,
}

/// The contents of a tokenizer's folder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenizerFiles<'a> {
    pub(crate) vocab: Option<&'a [u8]>,
    pub(crate) merges: Option<&'a [u8]>,
    /// Read where `vocab.json` is missing.
    pub(crate) tokenizer: Option<&'a [u8]>,
    /// `tokenizer_config.json`: names the special tokens.
    pub(crate) config: Option<&'a [u8]>,
    /// `special_tokens_map.json`: names them too; the configuration comes first.
    pub(crate) special_tokens: Option<&'a [u8]>,
}

/// Turns prompts into token ids of a fixed length and tells how many tokens a prompt has.
#[derive(Debug)]
pub struct PromptTokenizer {
    words: Tokenizer,
    capacity: usize,
    start: u32,
    end: u32,
    padding: u32,
}

impl PromptTokenizer {
    /// From the contents of a tokenizer's folder; `capacity` is the number of positions of the text encoder.
    pub(crate) fn new(files: &TokenizerFiles<'_>, capacity: usize) -> Result<Self, TokenizerError> {
        let vocabulary = match (files.vocab, files.merges, files.tokenizer) {
            (Some(vocab), Some(merges), _) => Vocabulary::from_vocab_and_merges(vocab, merges)?,
            (_, _, Some(tokenizer)) => Vocabulary::from_tokenizer_json(tokenizer)?,
            _ => return Err(TokenizerError::NoVocabulary),
        };
        Self::from_parts(vocabulary, &SpecialTokens::read(files)?, capacity)
    }

    /// The vocabulary that every published CLIP text encoder shares, from its list of merges. Prompts are padded with
    /// `padding`, or with the end token.
    pub(crate) fn clip(merges: &str, padding: Option<&str>, capacity: usize) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::from_clip_merges(merges)?;
        Self::from_parts(vocabulary, &SpecialTokens::clip(padding), capacity)
    }

    fn from_parts(
        vocabulary: Vocabulary,
        special: &SpecialTokens,
        capacity: usize,
    ) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        let file = vocabulary.file;
        let broken = |reason: String| TokenizerError::File { file, reason };
        if capacity < 2 {
            return Err(broken(format!(
                "a prompt of {capacity} tokens has no room for its start and end"
            )));
        }
        let id_of = |name: &str| {
            vocabulary
                .ids
                .get(name)
                .copied()
                .ok_or_else(|| broken(format!("the special token {name:?} is missing from it")))
        };
        let (start, end, padding) = (
            id_of(&special.start.name)?,
            id_of(&special.end.name)?,
            id_of(&special.padding.name)?,
        );

        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary.ids.into_iter().collect::<Vocab>(), vocabulary.merges)
            .unk_token(special.end.name.clone())
            .end_of_word_suffix(WORD_END.to_owned())
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let mut words = Tokenizer::new(bpe);
        let refused = |error: tokenizers::Error| broken(error.to_string());
        words
            .with_normalizer(Some(normalizer().map_err(refused)?))
            .map_err(refused)?
            .with_pre_tokenizer(Some(pre_tokenizer().map_err(refused)?));
        let added = special
            .all()
            .map(|token| AddedToken::from(token.name.as_str(), true).normalized(token.is_normalized));
        words.add_special_tokens(added).map_err(refused)?;
        Ok(Self {
            words,
            capacity,
            start,
            end,
            padding,
        })
    }

    /// Tokens a prompt may have, start and end included (77 for Stable Diffusion).
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that `prompt` has, start and end included. What goes beyond [`Self::capacity`] is not seen by the model.
    pub fn count(&self, prompt: &str) -> usize {
        self.word_ids(prompt).len() + 2
    }

    /// Exactly [`Self::capacity`] ids: start, as many of the prompt's as fit, end, padding.
    pub fn encode(&self, prompt: &str) -> Vec<u32> {
        let words = self.word_ids(prompt);
        let kept = words.len().min(self.capacity - 2);
        let mut ids = Vec::with_capacity(self.capacity);
        ids.push(self.start);
        ids.extend_from_slice(&words[..kept]);
        ids.push(self.end);
        ids.resize(self.capacity, self.padding);
        ids
    }

    /// The id that ends a prompt.
    pub(crate) fn end_id(&self) -> u32 {
        self.end
    }

    /// The largest id that a prompt can have.
    pub(crate) fn largest_id(&self) -> u32 {
        let ids = self.words.get_vocab(true).into_values();
        ids.max().unwrap_or_default()
    }

    fn word_ids(&self, prompt: &str) -> Vec<u32> {
        match self.words.encode_fast(prompt, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            Err(error) => {
                // The byte-level alphabet may be incomplete in a damaged vocabulary: paint as if nothing was said.
                tracing::warn!("a prompt could not be cut into tokens: {error}");
                Vec::new()
            }
        }
    }
}

fn normalizer() -> tokenizers::Result<Sequence> {
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
    Ok(Sequence::new(vec![
        NormalizerWrapper::NFC(NFC),
        NormalizerWrapper::Replace(spaces),
        NormalizerWrapper::Lowercase(Lowercase),
    ]))
}

fn pre_tokenizer() -> tokenizers::Result<PreTokenizers> {
    let words = Split::new(
        SplitPattern::Regex(WORD_PATTERN.to_owned()),
        SplitDelimiterBehavior::Removed,
        true,
    )?;
    Ok(PreTokenizers::new(vec![
        PreTokenizerWrapper::Split(words),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]))
}

/// Ids and merge rules, not yet checked against each other.
struct Vocabulary {
    file: &'static str,
    ids: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
}

impl Vocabulary {
    fn from_vocab_and_merges(vocab: &[u8], merges: &[u8]) -> Result<Self, TokenizerError> {
        let ids = serde_json::from_slice(vocab).map_err(|error| TokenizerError::File {
            file: "vocab.json",
            reason: json_reason(&error),
        })?;
        let text = std::str::from_utf8(merges).map_err(|error| TokenizerError::File {
            file: "merges.txt",
            reason: format!("it is no text in UTF-8 ({error}); the file is damaged: download it again"),
        })?;
        Ok(Self {
            file: "merges.txt",
            ids,
            merges: merges_from_text(text)?,
        })
    }

    fn from_tokenizer_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let broken = |reason: String| TokenizerError::File {
            file: "tokenizer.json",
            reason,
        };
        let parsed: TokenizerJson =
            serde_json::from_slice(bytes).map_err(|error| broken(json_reason(&error)))?;
        if parsed.model.end_of_word_suffix.as_deref() != Some(WORD_END) {
            return Err(broken(
                "it is not the byte-pair encoding of a CLIP text encoder".to_owned(),
            ));
        }
        let mut ids = parsed.model.vocab;
        for token in parsed.added_tokens {
            ids.insert(token.content, token.id);
        }
        let merges = parsed
            .model
            .merges
            .into_iter()
            .map(|merge| match merge {
                MergeJson::Pair(first, second) => Ok((first, second)),
                MergeJson::Line(line) => line
                    .split_once(' ')
                    .map(|(first, second)| (first.to_owned(), second.to_owned()))
                    .ok_or_else(|| broken(format!("the merge {line:?} is not a pair"))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            file: "tokenizer.json",
            ids,
            merges,
        })
    }

    /// CLIP numbers its tokens by rule: the 256 byte characters, the same at a word's end, one token per merge, and
    /// the two special ones.
    fn from_clip_merges(text: &str) -> Result<Self, TokenizerError> {
        let merges = merges_from_text(text)?;
        let letters = byte_characters();
        let singles = letters.iter().map(char::to_string);
        let finals = letters.iter().map(|letter| format!("{letter}{WORD_END}"));
        let merged = merges.iter().map(|(first, second)| format!("{first}{second}"));
        let special = [SpecialTokens::START, SpecialTokens::END].map(str::to_owned);
        let ids = singles
            .chain(finals)
            .chain(merged)
            .chain(special)
            .zip(0..)
            .collect();
        Ok(Self {
            file: "merges.txt",
            ids,
            merges,
        })
    }

    /// Checks what the crate `tokenizers` takes for granted (it panics on a merge whose result is unknown).
    fn check(&self) -> Result<(), TokenizerError> {
        let broken = |reason: String| TokenizerError::File {
            file: self.file,
            reason,
        };
        if self.ids.len() > MAX_VOCABULARY {
            return Err(broken(format!(
                "{} tokens are more than a CLIP vocabulary can have",
                self.ids.len()
            )));
        }
        for (first, second) in &self.merges {
            let merged = format!("{first}{second}");
            for token in [first, second, &merged] {
                if !self.ids.contains_key(token) {
                    return Err(broken(format!(
                        "the merge of {first:?} and {second:?} needs the token {token:?}, which the vocabulary lacks"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn merges_from_text(text: &str) -> Result<Vec<(String, String)>, TokenizerError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|(index, line)| match line.split(' ').collect::<Vec<_>>()[..] {
            [first, second] => Ok((first.to_owned(), second.to_owned())),
            _ => Err(TokenizerError::File {
                file: "merges.txt",
                reason: format!("line {} is not a pair: {line:?}", index + 1),
            }),
        })
        .collect()
}

/// The printable character that stands for each byte, in the order in which CLIP numbers them.
fn byte_characters() -> Vec<char> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let printable = (0..=255).filter(is_printable).map(char::from);
    let hidden = (0..=255)
        .filter(|byte| !is_printable(byte))
        .zip(256..)
        .filter_map(|(_, code)| char::from_u32(code));
    printable.chain(hidden).collect()
}

/// A special token: it stands for itself wherever its name appears in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SpecialToken {
    name: String,
    /// Whether its name is looked for after lower-casing.
    is_normalized: bool,
}

impl SpecialToken {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_normalized: false,
        }
    }
}

/// The special tokens; CLIP's own where a folder does not say.
#[derive(Debug)]
struct SpecialTokens {
    start: SpecialToken,
    end: SpecialToken,
    padding: SpecialToken,
}

impl SpecialTokens {
    const START: &'static str = "<|startoftext|>";
    const END: &'static str = "<|endoftext|>";

    fn clip(padding: Option<&str>) -> Self {
        Self {
            start: SpecialToken::named(Self::START),
            end: SpecialToken::named(Self::END),
            padding: SpecialToken::named(padding.unwrap_or(Self::END)),
        }
    }

    fn read(files: &TokenizerFiles<'_>) -> Result<Self, TokenizerError> {
        let parse = |bytes: Option<&[u8]>, file| match bytes {
            None => Ok(SpecialTokensJson::default()),
            Some(bytes) => serde_json::from_slice(bytes).map_err(|error| TokenizerError::File {
                file,
                reason: json_reason(&error),
            }),
        };
        let config = parse(files.config, "tokenizer_config.json")?;
        let map = parse(files.special_tokens, "special_tokens_map.json")?;
        let first = |a: Option<TokenJson>, b: Option<TokenJson>, default: &SpecialToken| {
            a.or(b).map_or_else(|| default.clone(), TokenJson::into_token)
        };
        let end = first(config.end, map.end, &SpecialToken::named(Self::END));
        Ok(Self {
            start: first(config.start, map.start, &SpecialToken::named(Self::START)),
            padding: first(config.padding, map.padding, &end),
            end,
        })
    }

    fn all(&self) -> [&SpecialToken; 3] {
        [&self.start, &self.end, &self.padding]
    }
}

#[derive(Default, Deserialize)]
struct SpecialTokensJson {
    #[serde(rename = "bos_token")]
    start: Option<TokenJson>,
    #[serde(rename = "eos_token")]
    end: Option<TokenJson>,
    #[serde(rename = "pad_token")]
    padding: Option<TokenJson>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenJson {
    Name(String),
    Described {
        content: String,
        #[serde(default)]
        normalized: bool,
    },
}

impl TokenJson {
    fn into_token(self) -> SpecialToken {
        match self {
            Self::Name(name) => SpecialToken::named(&name),
            Self::Described { content, normalized } => SpecialToken {
                name: content,
                is_normalized: normalized,
            },
        }
    }
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedTokenJson>,
    model: ModelJson,
}

#[derive(Deserialize)]
struct AddedTokenJson {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct ModelJson {
    vocab: BTreeMap<String, u32>,
    merges: Vec<MergeJson>,
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Pair(String, String),
    Line(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clip() -> PromptTokenizer {
        let merges = include_str!("../../assets/clip/merges.txt");
        PromptTokenizer::clip(merges, None, 77).unwrap()
    }

    /// Every byte is a token, and so is "cat".
    fn small_vocabulary() -> (String, String) {
        let merges = "#version: 0.2\nc a\nca t</w>\n";
        let mut ids = Vocabulary::from_clip_merges("c a\nca t</w>").unwrap().ids;
        ids.insert("!".to_owned(), 0);
        (serde_json::to_string(&ids).unwrap(), merges.to_owned())
    }

    fn made(vocab: &[u8], merges: &[u8]) -> Result<PromptTokenizer, TokenizerError> {
        let files = TokenizerFiles {
            vocab: Some(vocab),
            merges: Some(merges),
            ..TokenizerFiles::default()
        };
        PromptTokenizer::new(&files, 8)
    }

    #[test]
    fn the_built_in_vocabulary_is_clips() {
        let tokenizer = clip();
        assert_eq!(tokenizer.largest_id(), 49407);
        let ids = tokenizer.encode("A photo of a  cat");
        assert_eq!(ids[..8], [49406, 320, 1125, 539, 320, 2368, 49407, 49407]);
        assert_eq!(ids.len(), 77);
        assert_eq!(tokenizer.count("a photo of a cat"), 7);
        assert_eq!(tokenizer.count(""), 2);
    }

    #[test]
    fn a_prompt_of_ten_thousand_characters_is_cut_to_fit() {
        let tokenizer = clip();
        for prompt in ["very ".repeat(2000), "x".repeat(10_000), "🦊".repeat(2_500)] {
            let ids = tokenizer.encode(&prompt);
            assert_eq!(ids.len(), 77);
            assert_eq!(ids[76], 49407);
            assert!(tokenizer.count(&prompt) > 77);
        }
    }

    #[test]
    fn vocabularies_may_come_in_either_form() {
        let (vocab, merges) = small_vocabulary();
        let from_pair = made(vocab.as_bytes(), merges.as_bytes()).unwrap();
        let json = format!(
            r#"{{"added_tokens": [], "model": {{"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {vocab}, "merges": ["c a", ["ca", "t</w>"]]}}}}"#
        );
        let files = TokenizerFiles {
            tokenizer: Some(json.as_bytes()),
            ..TokenizerFiles::default()
        };
        let from_json = PromptTokenizer::new(&files, 8).unwrap();
        for prompt in ["cat", "a cat!", "<|endoftext|> cats"] {
            assert_eq!(from_pair.encode(prompt), from_json.encode(prompt));
        }
        assert_eq!(from_pair.count("cat"), 3);
    }

    #[test]
    fn damaged_vocabularies_are_refused_by_file() {
        let (vocab, merges) = small_vocabulary();
        let (vocab, merges) = (vocab.as_bytes(), merges.as_bytes());
        for (vocab, merges, file) in [
            (&b"\xff\xfe{}"[..], merges, "vocab.json"),
            (b"{\"a\": -1}", merges, "vocab.json"),
            (b"[]", merges, "vocab.json"),
            (vocab, b"c a\n\xff\xff", "merges.txt"),
            (vocab, b"c a t", "merges.txt"),
            (vocab, b"c unknown", "merges.txt"),
            // Its halves are known, but not what it makes: the crate `tokenizers` would panic.
            (vocab, b"cat</w> cat</w>", "merges.txt"),
            (b"{\"a\": 0}", b"", "merges.txt"),
        ] {
            let error = made(vocab, merges).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
        let nothing = PromptTokenizer::new(&TokenizerFiles::default(), 8);
        assert_eq!(nothing.unwrap_err(), TokenizerError::NoVocabulary);
    }

    proptest! {
        #[test]
        fn any_prompt_gives_exactly_the_capacity(prompt in any::<String>()) {
            let (vocab, merges) = small_vocabulary();
            let tokenizer = made(vocab.as_bytes(), merges.as_bytes()).unwrap();
            prop_assert_eq!(tokenizer.encode(&prompt).len(), 8);
            prop_assert!(tokenizer.count(&prompt) >= 2);
        }

        #[test]
        fn any_files_are_refused_or_used(
            vocab in r#"\{("[a-c<>/w]{1,6}":-?[0-9]{1,12},?){0,6}\}"#,
            merges in "([a-c]{1,3} [a-c]{0,3}(</w>)?\n){0,4}",
            config in r#"\{("(bos|eos|pad)_token":("[a-c]?"|\{"content":"a"\}|1),?){0,3}\}"#,
            damage in any::<Vec<u8>>(),
        ) {
            for (vocab, merges) in [(vocab.as_bytes(), merges.as_bytes()), (&damage, merges.as_bytes()), (vocab.as_bytes(), &damage)] {
                let files = TokenizerFiles {
                    vocab: Some(vocab),
                    merges: Some(merges),
                    tokenizer: Some(&damage),
                    config: Some(config.as_bytes()),
                    special_tokens: Some(config.as_bytes()),
                };
                if let Ok(tokenizer) = PromptTokenizer::new(&files, 4) {
                    tokenizer.encode("abc cab");
                }
            }
        }
    }
}

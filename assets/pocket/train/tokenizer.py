"""The tokenizer: CLIP's byte-pair format over our own words, each of which is one token.

Unknown words fall into pieces, as in any byte-pair vocabulary; the model knows nothing about the pieces.
"""

import json
import re

from vocabulary import all_phrases

START, END = "<|startoftext|>", "<|endoftext|>"


def byte_characters():
    """CLIP's 256 printable stand-ins for bytes, in its order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def words_of(phrases):
    return sorted(set(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]", " ".join(phrases).lower())))


class Merges:
    """An ordered list of pair merges that grows until every given word is one piece."""

    def __init__(self):
        self.rank = {}

    def pieces(self, word):
        """The word's pieces under the merges so far, applied best rank first."""
        parts = [*word[:-1], word[-1] + "</w>"]
        while True:
            known = [pair for pair in zip(parts, parts[1:]) if pair in self.rank]
            if not known:
                return parts
            parts = self._joined(parts, min(known, key=self.rank.get))

    def learn(self, word):
        """Adds merges from the left until `word` is one piece; returns the pieces made on the way."""
        made = []
        while len(parts := self.pieces(word)) > 1:
            self.rank[(parts[0], parts[1])] = len(self.rank)
            made.append(parts[0] + parts[1])
        return made

    @staticmethod
    def _joined(parts, pair):
        out, i = [], 0
        while i < len(parts):
            if tuple(parts[i : i + 2]) == pair:
                out.append(parts[i] + parts[i + 1])
                i += 2
            else:
                out.append(parts[i])
                i += 1
        return out


def build_tokenizer(settings):
    """Writes the tokenizer's folder unless it is there, or copies that of the model started from."""
    folder = settings.tokenizer_folder
    if (folder / "vocab.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if settings.start:  # the embeddings of the start model belong to its token ids
        for path in (settings.start / "tokenizer").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return
    characters = byte_characters()
    tokens = characters + [c + "</w>" for c in characters]
    merges = Merges()
    for word in words_of(all_phrases()):
        tokens += merges.learn(word)
    ids = {}
    for token in [*tokens, START, END]:
        ids.setdefault(token, len(ids))
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges.rank)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        **special, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
        "model_max_length": settings.text["max_position_embeddings"], "tokenizer_class": "CLIPTokenizer",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))

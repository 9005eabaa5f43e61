"""Texts to the ids of their tokens, by a tokenizer of the ``tokenizers`` library (the extra ``text``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, printable, shown
from tokbench.generators.bpe import Merges

PAD, WORD = "[PAD]", "▁"  # what fills a text up; with Metaspace, the mark before a word


class TextTokenizer:
    """Tokens of texts, padded on the right with ``[PAD]``, which is added to a vocabulary that has none.

    Raises TokbenchError where the library is missing, or the definition is not one of its ``tokenizer.json``.
    """

    def __init__(self, definition: str, source: str) -> None:
        try:
            self.tokens: Any = library().Tokenizer.from_str(definition)
        except Exception as error:  # the library raises Exception itself
            raise _not_read(source, error) from None
        self.tokens.no_padding()
        self.tokens.no_truncation()
        self.known = int(self.tokens.get_vocab_size())  # tokens of its own
        if self.tokens.token_to_id(PAD) is None:
            self.tokens.add_special_tokens([PAD])
        self.pad = int(self.tokens.token_to_id(PAD))
        self.vocabulary = int(self.tokens.get_vocab_size())
        unknown = getattr(self.tokens.model, "unk_token", None)
        names = (unknown, WORD) if unknown else ()
        # Tokens that say nothing of a text: of what is not known, and the mark that stands before it too.
        self.silent = [k for name in names if (k := self.tokens.token_to_id(name)) is not None]
        self._merges: Merges | None = None

    @property
    def definition(self) -> str:
        """The ``tokenizer.json``, in one line."""
        return str(self.tokens.to_str())

    @classmethod
    def read(cls, source: str) -> TextTokenizer:
        """The tokenizer of a ``tokenizer.json``, of a vocabulary ``NAME-vocab.json`` with its ``NAME-merges.txt`` (as
        Kakao's, character-level BPE in lower case), or of a repository on the hub."""
        kind, path = library().Tokenizer, Path(source).expanduser()
        try:
            if not path.exists():
                found = kind.from_pretrained(source)
            elif path.name.endswith("vocab.json"):
                merges = path.with_name(path.name.removesuffix("vocab.json") + "merges.txt")
                found = _character_bpe(path, merges)
            else:
                found = kind.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise _not_read(source, error) from None
        return cls(found.to_str(), source)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, as many as there are."""
        return [found.ids for found in self._encoded(texts)]

    def dropped(self, texts: Sequence[str], keys: Tensor, chance: float) -> list[list[int]]:
        """The same with BPE dropout (``tokbench.generators.bpe``), drawn from keys (n,) alone."""
        if self._merges is None:
            self._merges = Merges.of(self.definition)
        found = self._encoded(texts)
        return [self._merges.cut(one, key, chance) for one, key in zip(found, keys.tolist(), strict=True)]

    def ids(self, texts: Sequence[str], length: int, *, cut: bool) -> Tensor:
        """int64 (n, length). A text of more tokens is ``cut``, as in training, or a TokbenchError."""
        rows = self.rows(texts)
        for text, row in zip(texts, rows, strict=True):
            if len(row) > length and not cut:
                raise TokbenchError(f"{shown(text)} has {len(row)} tokens, the generator reads {length}: shorten it")
        return self.padded(rows, length)

    def _encoded(self, texts: Sequence[str]) -> list[Any]:
        """What the library makes of texts. TokbenchError for bytes that are no characters (a terminal's surrogates)."""
        for text in texts:
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise TokbenchError(f"{shown(text)}: holds bytes that are not UTF-8")
        return list(self.tokens.encode_batch(list(texts)))

    def padded(self, rows: Sequence[list[int]], length: int) -> Tensor:
        """Rows of tokens, cut or filled up, as int64 (n, length)."""
        return torch.tensor([(row + [self.pad] * length)[:length] for row in rows], dtype=torch.int64)


def library() -> Any:
    """``tokenizers``. TokbenchError where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise TokbenchError("texts need the tokenizers library: pip install 'tokbench[text]'") from None
    return tokenizers


def _character_bpe(vocabulary: Path, merges: Path) -> Any:
    from tokenizers.implementations import CharBPETokenizer

    if not merges.is_file():
        raise FileNotFoundError(f"there is no {merges.name} beside it")
    return CharBPETokenizer.from_file(str(vocabulary), str(merges), unk_token="[UNK]", lowercase=True)


def _not_read(source: str, error: Exception) -> TokbenchError:
    reason = printable(" ".join(str(error).split()), 160)
    return TokbenchError(
        f"{source}: not a text tokenizer that can be read ({reason}): give a tokenizer.json, NAME-vocab.json or the "
        "name of one on the hub"
    )

"""Texts to the ids of their tokens, by a tokenizer of the ``tokenizers`` library (the extra ``text``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, printable, shown

PAD = "[PAD]"


class TextTokenizer:
    """Tokens of texts, padded on the right with ``[PAD]``, which is added to a vocabulary that has none.

    Raises TokbenchError where the library is missing, or the definition is not one of its ``tokenizer.json``.
    """

    def __init__(self, definition: str, source: str) -> None:
        try:
            self.tokens: Any = _library().Tokenizer.from_str(definition)
        except Exception as error:  # the library raises Exception itself
            raise _not_read(source, error) from None
        self.tokens.no_padding()
        self.tokens.no_truncation()
        if self.tokens.token_to_id(PAD) is None:
            self.tokens.add_special_tokens([PAD])
        self.pad = int(self.tokens.token_to_id(PAD))
        self.vocabulary = int(self.tokens.get_vocab_size())

    @property
    def definition(self) -> str:
        """The ``tokenizer.json``, in one line."""
        return str(self.tokens.to_str())

    @classmethod
    def read(cls, source: str) -> TextTokenizer:
        """The tokenizer of a ``tokenizer.json``, of a vocabulary ``NAME-vocab.json`` with its ``NAME-merges.txt`` (as
        Kakao's, character-level BPE in lower case), or of a repository on the hub."""
        library, path = _library(), Path(source).expanduser()
        try:
            if not path.exists():
                found = library.Tokenizer.from_pretrained(source)
            elif path.name.endswith("vocab.json"):
                merges = path.with_name(path.name.removesuffix("vocab.json") + "merges.txt")
                found = _character_bpe(path, merges)
            else:
                found = library.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise _not_read(source, error) from None
        return cls(found.to_str(), source)

    def ids(self, texts: Sequence[str], length: int, *, cut: bool) -> Tensor:
        """int64 (n, length). A text of more tokens is ``cut``, as in training, or a TokbenchError."""
        rows = [found.ids for found in self.tokens.encode_batch(list(texts))]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > length and not cut:
                raise TokbenchError(f"{shown(text)} has {len(row)} tokens, the generator reads {length}: shorten it")
        return torch.tensor([(row + [self.pad] * length)[:length] for row in rows], dtype=torch.int64)


def _library() -> Any:
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

"""BPE dropout (Provilkov et al. 2020, arXiv:1910.13267): merges are left out by chance, so that a word is read in many
cuts. The library's own draws from a generator that cannot be seeded; here a text's cut depends on its key alone, so a
run that is resumed, or divided otherwise, reads the same tokens.
"""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass
from typing import Any

from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class Merges:
    """The rank of every merge, the vocabulary, and what marks a word's later parts and its end."""

    ranks: dict[tuple[str, str], int]
    vocabulary: dict[str, int]
    prefix: str
    suffix: str

    @classmethod
    def of(cls, definition: str) -> Merges:
        """Of a ``tokenizer.json``. TokbenchError where its tokens are not merged by BPE."""
        model = json.loads(definition)["model"]
        if (kind := model.get("type", "BPE")) != "BPE":
            raise TokbenchError(f"generator.text.bpe_dropout: the text's tokenizer is {kind}: set it to 0")
        split: list[Any] = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        marks = [model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix")]
        return cls({(left, right): rank for rank, (left, right) in enumerate(split)}, model["vocab"], *marks)

    def cut(self, found: Any, key: int, chance: float) -> list[int]:
        """The tokens of one text, from what the library made of it (an ``Encoding``). A word that holds what the
        vocabulary lacks stays as it is."""
        draw = random.Random(key)
        ids: list[int] = []
        places = zip(found.ids, found.tokens, found.word_ids, strict=True)
        for word, parts in itertools.groupby(places, key=lambda part: part[2]):
            listed = list(parts)
            again = None if word is None else self._word([token for _, token, _ in listed], draw, chance)
            ids += [number for number, _, _ in listed] if again is None else again
        return ids

    def _word(self, tokens: list[str], draw: random.Random, chance: float) -> list[int] | None:
        """Another cut of a word; None where its characters are not all in the vocabulary."""
        text = "".join([tokens[0], *(token.removeprefix(self.prefix) for token in tokens[1:])])
        stem = text.removesuffix(self.suffix)
        parts = [stem[0], *(self.prefix + character for character in stem[1:])] if stem else [""]
        parts[-1] += text[len(stem) :]
        if not all(part in self.vocabulary for part in parts):
            return None
        while merge := self._next(parts, draw, chance):
            _, at = merge
            parts[at : at + 2] = [parts[at] + parts[at + 1].removeprefix(self.prefix)]
        return [self.vocabulary[part] for part in parts]

    def _next(self, parts: list[str], draw: random.Random, chance: float) -> tuple[int, int] | None:
        """(rank, place) of the first of the merges that are possible and not left out this time."""
        ranks = ((self.ranks.get(pair), at) for at, pair in enumerate(itertools.pairwise(parts)))
        return min(((rank, at) for rank, at in ranks if rank is not None and draw.random() >= chance), default=None)

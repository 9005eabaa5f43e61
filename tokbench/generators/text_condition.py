"""A text as a condition: its tokens stand before the codes, causally read, and may be predicted like them.

RQ-Transformer's (Lee et al. 2022, arXiv:2203.01941, section 4.2; kakaobrain/rq-vae-transformer): tokens and positions
have tables of their own, padding is read like any other token, and the loss of the codes (weight 0.9) is joined by that
of the text (0.1).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.condition import TextConfig
from tokbench.errors import TokbenchError, shown
from tokbench.generators.condition import Condition, Given, condition_of
from tokbench.generators.texts import TextTokenizer


@condition_of(TextConfig)
class TextCondition(nn.Embedding, Condition):
    """Token ids int64 (n, length), or the texts; the null is padding alone. A row for each token."""

    config: TextConfig

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__(config.vocabulary, width)
        self.config = config
        if config.predicts:
            self.norm = nn.LayerNorm(width)
            self.classifier = nn.Linear(width, config.vocabulary)

    def check(self, given: Given, n: int) -> Tensor:
        if given is None:
            if not self.config.has_null:
                raise TokbenchError("the generator needs a text: it was trained with a dropout of its condition of 0")
            return self.null(n)
        if _is_text(given):
            given = self._ids_of([given] if isinstance(given, str) else list(given))  # type: ignore[arg-type]
        if not isinstance(given, Tensor) or given.dtype != torch.int64:
            raise TokbenchError(f"a text is given as it is or as its tokens' ids (int64), not {shown(given)}")
        ids, length = given.to(self.weight.device), self.config.length
        ids = ids[None] if ids.dim() == 1 else ids
        if ids.dim() != 2 or ids.shape[1] != length or len(ids) not in (1, n):
            raise TokbenchError(
                f"token ids {tuple(given.shape)} for {n} images: the generator's texts are ({length},) or "
                f"({n}, {length}), filled up with {self.config.pad}"
            )
        if not torch.compiler.is_compiling():  # a look at the values would break the graph
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.config.vocabulary:
                raise TokbenchError(
                    f"token {low if low < 0 else high} is outside the text's vocabulary of {self.config.vocabulary}: "
                    "these are another tokenizer's ids"
                )
        return ids.expand(n, length)

    def null(self, n: int) -> Tensor:
        return torch.full((n, self.config.length), self.config.pad, dtype=torch.int64, device=self.weight.device)

    def of(self, batch: Any) -> Tensor:
        keys, chance = batch.get("keys"), self.config.bpe_dropout
        if keys is None or not chance:
            found = self._words.ids(batch["text"], self.config.length, cut=True)
        else:
            found = self._words.padded(self._words.dropped(batch["text"], keys, chance), self.config.length)
        return found.to(self.weight.device, non_blocking=True)

    def ask(self, images: Any) -> None:
        images.read_captions()

    @cached_property
    def _words(self) -> TextTokenizer:
        if not self.config.tokenizer:
            raise TokbenchError("the generator came without its text's tokenizer: give the ids of the tokens")
        found = TextTokenizer(self.config.tokenizer, "the generator's config.json")
        found.pad = self.config.pad  # of CLIP's vocabulary, as Kakao reads it, another token than [PAD]
        return found

    def _ids_of(self, texts: list[str]) -> Tensor:
        ids = self._words.ids(texts, self.config.length, cut=False)
        padding = ids == self.config.pad
        if bool((empty := padding.all(1)).any()):
            raise TokbenchError(f"{shown(texts[int(empty.nonzero()[0])])}: a text without words; say what to draw")
        silent = torch.tensor(self._words.silent, dtype=torch.int64)
        if bool((strange := (padding | torch.isin(ids, silent)).all(1)).any()):
            raise TokbenchError(
                f"{shown(texts[int(strange.nonzero()[0])])}: the text's tokenizer knows none of its characters; "
                "say it in the language of the captions"
            )
        return ids

    def shown(self, condition: Tensor) -> Tensor | None:
        if not self.config.hides:
            return None
        first = torch.arange(self.config.length, device=condition.device) == 0  # or no text would leave nothing to see
        return (condition != self.config.pad) | first

    @property
    def usual(self) -> Tensor:
        return self.null(0)

    def check_guidance(self, condition: Tensor) -> None:
        super().check_guidance(condition)
        if bool((condition == self.config.pad).all(1).any()):
            raise TokbenchError("guidance needs a text for every image")

    def with_loss(self, loss: Tensor, outputs: Tensor, condition: Tensor) -> Tensor:
        if not self.config.predicts:
            return loss
        logits, tokens = self.predicted(outputs).transpose(1, 2), condition[:, 1:]
        if not self.config.hides:
            of_text = F.cross_entropy(logits, tokens)
        else:  # a mean for each text, so that the loss of a batch is the mean of its parts'
            losses, there = F.cross_entropy(logits, tokens, reduction="none"), tokens != self.config.pad
            of_text = ((losses * there).sum(1) / there.sum(1).clamp_min(1)).mean()
        return torch.lerp(loss, of_text, self.config.loss_weight)

    def predicted(self, outputs: Tensor) -> Tensor:
        """Outputs (B, length - 1, width) of all places but the last -> logits of the tokens that follow them."""
        logits: Tensor = self.classifier(self.norm(outputs))
        return logits


def _is_text(given: Given) -> bool:
    return isinstance(given, str) or (isinstance(given, list | tuple) and all(isinstance(one, str) for one in given))

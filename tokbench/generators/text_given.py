"""The texts that a generator is given: what their tokenizer makes of the condition."""

from __future__ import annotations

from tokbench.config.condition import TextConfig, TextSettings
from tokbench.errors import TokbenchError
from tokbench.generators.base import Generator
from tokbench.generators.bpe import Merges
from tokbench.generators.texts import TextTokenizer


def text_of(settings: TextSettings | None) -> TextConfig | None:
    """What a recipe's wish for texts comes to, its tokenizer read. TokbenchError where that cannot be."""
    if settings is None:
        return None
    tokenizer = TextTokenizer.read(settings.tokenizer)
    if settings.bpe_dropout:
        Merges.of(tokenizer.definition)  # says so now where the tokenizer is another kind
    return TextConfig(
        dropout=settings.dropout,
        length=settings.length,
        vocabulary=tokenizer.vocabulary,
        pad=tokenizer.pad,
        loss_weight=settings.loss_weight,
        bpe_dropout=settings.bpe_dropout,
        padding=settings.padding,
        tokenizer=tokenizer.definition,
    )


def attach_text_tokenizer(generator: Generator, source: str) -> None:
    """Give a generator that came without its text's tokenizer the one at ``source``, so that it reads texts.

    Raises:
        TokbenchError: it is not conditioned on texts, or on those of another vocabulary.
    """
    config, found = generator.config.condition, TextTokenizer.read(source)
    if not isinstance(config, TextConfig):
        raise TokbenchError(f"--text-tokenizer: the generator is not conditioned on texts but is {config.describe()}")
    if config.vocabulary not in (found.known, found.vocabulary):
        raise TokbenchError(
            f"{source}: has {found.vocabulary} tokens, the generator's texts a vocabulary of {config.vocabulary}: "
            "this is another tokenizer"
        )
    own = found.vocabulary == config.vocabulary or found.known > found.pad
    if own and found.pad != config.pad:
        raise TokbenchError(f"{source}: fills up with token {found.pad}, the generator's texts with {config.pad}")
    named = config.model_copy(update={"tokenizer": found.definition})
    generator.config = generator.config.model_copy(update={"conditioned_on": named})
    generator.condition.config = named

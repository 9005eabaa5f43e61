"""A text tokenizer of one's own: byte-pair encoding learnt from captions (Sennrich et al. 2016, arXiv:1508.07909)."""

from __future__ import annotations

from collections.abc import Iterable

from tokbench.errors import TokbenchError
from tokbench.generators.texts import PAD, TextTokenizer, library

UNKNOWN = "[UNK]"


def train_text_tokenizer(captions: Iterable[str], vocabulary: int, source: str = "captions") -> TextTokenizer:
    """A character-level BPE in lower case of at most ``vocabulary`` tokens, ``[PAD]`` being 0 and ``[UNK]`` 1.

    Words begin with the mark of ``Metaspace``, and not with CharBPE's mark at their end, with which the library's
    trainer numbers tokens otherwise in every run. Pairs seen once are not merged, so a small set gives fewer tokens.

    Raises:
        TokbenchError: the library is missing, or the characters alone are more than ``vocabulary``.
    """
    tokenizers = library()
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=UNKNOWN))
    steps, cuts = tokenizers.normalizers, tokenizers.pre_tokenizers
    made.normalizer = steps.Sequence([steps.NFKC(), steps.Lowercase()])
    made.pre_tokenizer = cuts.Sequence([cuts.BertPreTokenizer(), cuts.Metaspace()])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=2, special_tokens=[PAD, UNKNOWN], show_progress=False
    )
    made.train_from_iterator(captions, trainer)
    if (found := made.get_vocab_size()) > vocabulary:
        raise TokbenchError(f"--vocab {vocabulary}: {source} has {found - 2} characters already; ask for more tokens")
    return TextTokenizer(made.to_str(), source)

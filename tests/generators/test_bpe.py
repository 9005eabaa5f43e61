"""BPE dropout beside the library's own cuts, and tokenizers trained here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.condition import TextConfig
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators import build
from tokbench.generators.bpe import Merges
from tokbench.generators.text_training import train_text_tokenizer
from tokbench.generators.texts import TextTokenizer

tokenizers = pytest.importorskip("tokenizers")
TEXTS = ["A red heart", "the blue blue hearts, beating!", "Grüße → 日本", "", "it's [PAD] old", "re-reads\tall  day"]


def word_pieces() -> TextTokenizer:
    """BPE whose later parts of a word are marked, and whose words end in nothing."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(continuing_subword_prefix="##", unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=60, continuing_subword_prefix="##", special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    return TextTokenizer(made.to_str(), "made")


@pytest.mark.parametrize("kind", ["kakao", "ours", "pieces"])
def test_without_a_chance_the_cut_is_the_librarys(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "kakao":
        read = TextTokenizer.read(str(request.getfixturevalue("golden_conditional") / "bpe-16k-vocab.json"))
    else:
        read = word_pieces() if kind == "pieces" else train_text_tokenizer(TEXTS * 3, 60)
    keys = torch.arange(len(TEXTS))
    assert read.dropped(TEXTS, keys, 0.0) == read.rows(TEXTS)
    shorter = sum(map(len, read.rows(TEXTS)))
    cut = read.dropped(TEXTS, keys, 0.5)
    assert sum(map(len, cut)) > shorter
    known = {number: token for token, number in read.tokens.get_vocab().items()}
    for few, many in zip(read.rows(TEXTS), cut, strict=True):  # the same characters in other parts
        assert "".join(known[k] for k in many).replace("##", "") == "".join(known[k] for k in few).replace("##", "")


def test_a_cut_depends_on_its_key_alone() -> None:
    read = train_text_tokenizer(TEXTS * 3, 60)
    many, keys = ["the blue hearts"] * 200, torch.arange(200)
    found = read.dropped(many, keys, 0.3)
    assert len(set(map(tuple, found))) > 5
    assert read.dropped(many[::-1], keys.flip(0), 0.3) == found[::-1]
    assert read.dropped(many[:1], keys[7:8], 0.3) == [found[7]]
    # A word of two characters and one merge is cut with the chance itself.
    merges = Merges({("a", "b"): 0}, {"a": 0, "b": 1, "ab": 2}, "", "")
    one = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).encode("ab")
    apart = sum(len(merges.cut(one, key, 0.3)) == 2 for key in range(2000))
    assert 520 < apart < 680


def test_what_merges_nothing_is_refused(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    with pytest.raises(TokbenchError, match="bpe_dropout: the text's tokenizer is WordLevel: set it to 0"):
        Merges.of(words.to_str())


def test_training_is_the_same_every_time_and_knows_its_captions(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, text in enumerate(["red heart", "blue heart", "red sea", "Blue Sea"]):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(text)
    told = []
    for name in ("a.json", "b.json"):
        command = ["tokenizer-text", "train", f"folder:train={folder}", "--vocab", "40", "--out", str(tmp_path / name)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        told.append((tmp_path / name).read_bytes())
    assert told[0] == told[1]
    read = TextTokenizer.read(str(tmp_path / "a.json"))
    assert read.pad == 0 and len(read.rows(["BLUE heart"])[0]) == 2
    with pytest.raises(TokbenchError, match="--vocab 5: these has 11 characters already; ask for more tokens"):
        train_text_tokenizer(["red heart", "blue heart", "red sea", "Blue Sea"], 5, "these")


def test_training_texts_are_cut_by_their_keys_and_others_are_not() -> None:
    read = train_text_tokenizer(TEXTS * 3, 60)
    text = TextConfig(length=8, vocabulary=read.vocabulary, bpe_dropout=0.5, tokenizer=read.definition)
    settings = ARConfig(width=16, heads=2, layers=1, input="learned")
    config = GeneratorConfig(generator=settings, shape=(2, 2, 1), vocabulary=(3,), conditioned_on=text)
    condition, keys, texts = build(config).condition, torch.arange(6), ["the blue hearts"] * 6
    whole = condition.of({"text": texts, "keys": keys})
    parts = [condition.of({"text": texts[k : k + 2], "keys": keys[k : k + 2]}) for k in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole) and len(whole.unique(dim=0)) > 1  # whoever resumes or divides
    assert torch.equal(condition.of({"text": texts}), read.ids(texts, 8, cut=True))


def test_a_text_none_of_whose_characters_are_known_is_refused() -> None:
    read = train_text_tokenizer(["a red heart", "a blue heart"], 60)
    text = TextConfig(length=8, vocabulary=read.vocabulary, tokenizer=read.definition)
    settings = ARConfig(width=16, heads=2, layers=1, input="learned")
    config = GeneratorConfig(generator=settings, shape=(2, 2, 1), vocabulary=(3,), conditioned_on=text)
    condition = build(config).condition
    for strange in ("日本 🍎", "qq", "?"):  # the mark before each word is known
        with pytest.raises(TokbenchError, match="knows none of its characters"):
            condition.check(["red heart", strange], 2)
    assert condition.check("red 日本", 1).shape == (1, 8)

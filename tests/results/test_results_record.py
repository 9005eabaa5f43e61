"""A record is its line: what is read has types and is checked, and everything else is kept as it was."""

from __future__ import annotations

import json
import random

import pytest
from results_synthetic import generated, record, sweep

from tokbench.results.record import Record, decode
from tokbench.results.store import parse

LINES = [row.line for row in sweep()]
METRIC = {"value": 1, "n": 1, "version": "1", "label": "m", "direction": "none"}


def test_blocks_have_types_and_keep_what_they_do_not_know() -> None:
    row = record("rq", 256, 4).replace(timing={"seconds": 2, "odd": [1], "encode_images_per_second": 7.5})
    assert row.quantizer.name == "rq" and row.quantizer.depth == 4 and row.training.steps == 2000
    assert row.model.architecture == "vqgan" and row.model["channels"] == 8 and row.weights.which == "ema"
    assert row.timing.seconds == 2 and row.timing["odd"] == [1] and row.timing.device is None
    assert list(row.timing) == ["seconds", "odd", "encode_images_per_second"]
    with pytest.raises(AttributeError):
        row.timing.second  # noqa: B018
    assert generated("mlm", 64, 30.0).model.architecture == "mlm"


def test_a_line_is_written_as_it_was_read() -> None:
    for line in LINES:
        plain = json.loads(line)
        assert decode(line).replace().line == line == decode(line).line
        assert list(plain)[:4] == ["schema_version", "id", "cell", "experiment"] and list(plain)[-1] == "error"
    odd = b' {"id":"1", "cell":"2","created":"","name":"n","quantizer":{"z":1,"name":"vq"},"new":{"key":1e-7}} '
    assert decode(odd).line == odd and decode(odd).plain()["new"] == {"key": 1e-7}


def test_damage_is_named_wherever_it_is_and_the_rest_is_read() -> None:
    rng = random.Random(0)
    damaged = 0
    for _ in range(400):
        lines = [bytearray(line) for line in rng.sample(LINES, 3)]
        line = lines[rng.randrange(3)]
        kind, at = rng.randrange(5), rng.randrange(len(line))
        if kind == 0:
            del line[at:]
        elif kind == 1:
            line[at] = rng.randrange(256)
        elif kind == 2:
            line[at:at] = rng.choice([b"\xff", b"}", b'"', b"\x00", b"nul", b"\n"])
        elif kind == 3:
            del line[at : at + rng.randrange(1, 9)]
        else:
            line[at : at + 1] = rng.choice([b"NaN", b"1e999", b"[]", b"-", b"\\"])
        records = parse(b"\n".join(map(bytes, lines)))
        assert len(records) + len(records.damaged) >= 2
        for one in records:
            assert isinstance(one.recipe, dict) and one.plain()["id"] == one.id
        damaged += len(records.damaged)
    assert damaged > 100


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": 5}, "recipe"), ({"recipe": None}, "recipe"), ({"seed": "0"}, "seed"), ({"seed": True}, "seed"),
        ({"kind": "other"}, "kind"), ({"metrics": {"psnr": {"value": 1}}}, "metrics"), ({"rate": {}}, "rate"),
        ({"quantizer": []}, "quantizer"), ({"quantizer": {"name": 5}}, "quantizer.name: is not text"),
        ({"quantizer": {"depth": True}}, "quantizer.depth: is not a whole number"), ({"training": None}, "training"),
        ({"training": {"seconds": -1}}, "training.seconds: is out of range"), ({"name": None}, "name"),
        ({"git": "abc"}, "git"), ({"artifacts": {"a": 1}}, "artifacts"), ({"schema_version": 1.5}, "schema_version"),
        ({"metrics": {"m": METRIC | {"shown": {"digits": -1}}}}, "digits"),
        ({"recipe": {"a": json.loads("[" * 300 + "]" * 300)}}, "nested too deeply"),
        ({"schema_version": 2}, "schema_version: a record of version 2"), ({"environment": {"gpus": "x"}}, "gpus"),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_named(change: dict, named: str) -> None:
    records = parse(json.dumps(json.loads(LINES[0]) | change).encode())
    ((number, reason),) = records.damaged
    assert not records and number == 1 and named in reason and "\n" not in reason


@pytest.mark.parametrize(("tokens", "sizes", "fine"), [
    ([16, 16, 1], [256], True), ([32, 1], [256], True), ([5, 8, 8, 2], [4, 4], True), ([1], [256], False),
    ([16, 16, 1], [], False), ([16, 16, 2], [256], False), ([0, 16, 1], [256], False), ([16, 16, 1], [0], False),
    ([2**21, 1], [256], False),
])  # fmt: skip
def test_tokens_are_of_any_grid_and_end_with_the_depth(tokens: list[int], sizes: list[int], fine: bool) -> None:
    rate = record().plain()["rate"] | {"tokens": tokens, "codebook_sizes": sizes}
    records = parse(json.dumps(record().plain() | {"rate": rate}).encode())
    assert len(records) == fine and all("rate" in reason for _, reason in records.damaged)


def test_what_is_no_record_at_all() -> None:
    assert not parse(b"") and not parse(b"\n\n").damaged
    for whole in (b"null\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n"):
        assert not parse(whole) and [number for number, _ in parse(whole).damaged] == [1]
    assert len(parse(b" \t \n" + LINES[0] + b"\r\n")) == 1


def test_a_record_that_cannot_be_is_not_made() -> None:
    with pytest.raises(ValueError, match="seed"):
        Record.of(id="1", cell="2", created="", name="n", seed="zero")
    with pytest.raises(ValueError, match="cell"):
        Record.of(id="1", created="", name="n")

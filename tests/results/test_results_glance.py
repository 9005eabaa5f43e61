"""Records at a glance: the same tables, the same damaged lines with the same reasons, as the records themselves."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from results_synthetic import folder, record, sweep

from tokbench.results import glance, store
from tokbench.results.table import comparison, to_json

LINES = [row.model_dump_json().encode() for row in sweep()]


def both(whole: bytes) -> tuple[store.Records, store.Records]:
    return store.parse(whole), glance.parse(whole)


def test_a_glance_says_what_the_record_says() -> None:
    missing = {"value": None, "n": 0, "version": "1", "label": "rFID", "direction": "lower", "note": "no weights"}
    rows = [*sweep(), record("vq", 64, experiment="e", group="g", metrics={"rfid": missing})]
    full, short = both(b"\n".join(row.model_dump_json().encode() for row in rows))
    assert len(short) == len(rows) and not short.damaged
    assert all(type(one) is glance.Glance for one in short)
    for one, other in zip(full, short, strict=True):
        for name in type(one).model_fields:
            plain = getattr(one, name)
            found = getattr(other, name)
            if name == "metrics":
                plain, found = ({k: fields(v) for k, v in block.items()} for block in (plain, found))
            elif name in ("data", "rate", "git"):
                plain, found = fields(plain), fields(found)
            assert found == plain, name


def fields(block: object) -> dict:
    names = getattr(block, "__struct_fields__", None) or (type(block).model_fields if block is not None else ())
    return {name: getattr(block, name) for name in names}


@pytest.mark.parametrize("options", [{}, {"by_depth": True}, {"columns": ["quantizer", "psnr", "recipe.training.lr"]},
                                     {"group_by": "quantizer"}, {"bd_rate": "vq"}, {"published": True}])  # fmt: skip
def test_the_tables_are_equal(options: dict) -> None:
    full, short = both(b"\n".join(LINES))
    assert to_json(comparison(short, **options)) == to_json(comparison(full, **options))


def test_damage_is_named_alike_wherever_it_is() -> None:
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
        full, short = both(b"\n".join(map(bytes, lines)))
        assert short.damaged == full.damaged
        assert [one.id for one in short] == [one.id for one in full]
        damaged += len(full.damaged)
    assert damaged > 100


@pytest.mark.parametrize("change", [{"recipe": 5}, {"recipe": None}, {"seed": "0"}, {"seed": True}, {"kind": "other"},
                                    {"metrics": {"psnr": {"value": 1}}}, {"rate": {}}, {"quantizer": []},
                                    {"new": {"key": 1}}, {"training": None}, {"name": None}, {"git": "abc"},
                                    {"artifacts": {"a": 1}}, {"schema_version": 1.5},
                                    {"schema_version": 2}])  # fmt: skip
def test_a_field_of_another_type_is_judged_alike(change: dict) -> None:
    line = json.dumps(json.loads(LINES[0]) | change).encode()
    full, short = both(line)
    assert (len(short), short.damaged) == (len(full), full.damaged)


def test_lines_of_another_kind(tmp_path: Path) -> None:
    for whole in (b"", b"\n\n", b"null\n", b"[]\n", b"{}\n", b" \t \n" + LINES[0] + b"\r\n"):
        full, short = both(whole)
        assert (len(short), short.damaged) == (len(full), full.damaged)
    home = folder(tmp_path, sweep()[:3])
    assert len(glance.read(home / "runs.jsonl")) == 3

"""The comparison table: what shares a column, what is best, what a row means."""

from __future__ import annotations

import copy
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_synthetic import metric, record, sweep

from tokbench.errors import TokbenchError
from tokbench.results import published
from tokbench.results.layout import Row, Section, Table, TableCell
from tokbench.results.record import Record
from tokbench.results.select import by_id, where
from tokbench.results.table import comparison


def column(section: Section, key: str) -> list[TableCell]:
    index = [c.key for c in section.columns].index(key)
    return [row.cells[index] for row in section.rows]


def texts(section: Section, key: str) -> list[str]:
    return [cell.text for cell in column(section, key)]


def only(table: Table) -> Section:
    assert len(table.sections) == 1, [section.title for section in table.sections]
    return table.sections[0]


def test_seeds_of_one_experiment_are_one_row_with_mean_and_spread() -> None:
    rows = [record("vq", seed=seed) for seed in (0, 1, 2)]
    section = only(comparison(rows))
    values = [row.metrics["psnr"].value or 0 for row in rows]
    (cell,) = column(section, "psnr")
    assert cell.value == pytest.approx(statistics.fmean(values))
    assert cell.deviation == pytest.approx(statistics.stdev(values))
    assert cell.text == f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert column(section, "seeds")[0].value == 3
    assert any("standard deviation over seeds" in remark for remark in section.remarks)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_records_changes_nothing_but_ties(order: list[int]) -> None:
    rows = [record(name, size, seed=seed) for name, size in (("vq", 64), ("vq", 256)) for seed in (0, 1, 2)]
    before = [copy.deepcopy(row) for row in rows]
    section = only(comparison([rows[i] for i in order]))
    assert [(c.text) for c in column(section, "psnr")] == texts(only(comparison(rows)), "psnr")
    assert rows == before  # a pure function


def test_one_seed_without_a_metric_does_not_split_the_row() -> None:
    rows = [record("vq", seed=0), record("vq", seed=1, metrics={"lpips": metric(None, "LPIPS (alex)", "lower")})]
    section = only(comparison(rows))
    assert len(section.rows) == 1
    assert column(section, "lpips")[0].deviation is None
    assert column(section, "psnr")[0].deviation is not None


def test_different_recipes_never_become_seeds_of_one_row() -> None:
    other = record("vq", seed=1)
    other = other.replace(recipe={**other.recipe, "training": {"steps": 2000, "lr": 5e-4}})
    section = only(comparison([record("vq", seed=0), other]))
    assert len(section.rows) == 2


def test_a_cell_measured_again_counts_once() -> None:
    first, again = record("vq", id="a"), record("vq", id="b", metrics={"psnr": metric(30.0, "PSNR", unit="dB")})
    table = comparison([first, again])
    assert texts(only(table), "psnr") == ["30.00"]
    assert table.remarks == ["1 older records of cells measured again are not shown."]


def test_failed_cells_are_named_until_they_succeed() -> None:
    failed = record("rq", error="RuntimeError: boom")
    table = comparison([record("vq"), failed])
    assert len(only(table).rows) == 1
    assert "boom" in table.remarks[0] and "rq" in table.remarks[0]
    assert comparison([failed, record("rq", id="later")]).remarks == []


def test_values_of_different_versions_get_a_column_each() -> None:
    newer = record("rq", metrics={"psnr": metric(40.0, "PSNR", unit="dB") | {"version": "tokbench-v1/2"}})
    section = only(comparison([record("vq"), newer]))
    keys = [c.key for c in section.columns if c.key.startswith("psnr")]
    assert keys == ["psnr@tokbench-v1/psnr-1@96", "psnr@tokbench-v1/2@96"]
    assert [cell.value is None for cell in column(section, keys[0])].count(True) == 1
    assert not any(cell.best for key in keys for cell in column(section, key))
    assert any("2 ways" in remark for remark in section.remarks)


def test_distances_over_different_counts_get_a_column_each_but_codes_do_not() -> None:
    def rfid(n: int, **changes: Any) -> Record:
        value = metric(10.0, "rFID", "lower") | {"n": n}
        usage = metric(0.5, "usage") | {"n": n * 256}
        return record(metrics={"rfid": value, "usage": usage}, **changes)

    section = only(comparison([rfid(1000), rfid(5000, name="rq")]))
    headers = [c.header for c in section.columns]
    assert "rFID [tokbench-v1/1] [n=1,000] ↓" in headers and "rFID [tokbench-v1/1] [n=5,000] ↓" in headers
    assert [c.key for c in section.columns].count("usage") == 1


@pytest.mark.parametrize(
    "change", [{"size": 128}, {"protocol": "other"}, {"spec": "cifar10"}, {"n": 10}, {"split": "train"}]
)
def test_other_images_are_another_table(change: dict[str, Any]) -> None:
    data = {"spec": "photos", "split": "eval", "n": 96, "size": 64, "protocol": "tokbench-v1"} | change
    table = comparison([record("vq"), record("rq", data=data)])
    assert len(table.sections) == 2
    assert table.sections[0].title != table.sections[1].title


def test_best_is_bold_by_direction_among_measured_whole_rows() -> None:
    section = only(comparison([record("vq", 64), record("vq", 1024), record("rq", 256, 4)], by_depth=True))
    named = zip(texts(section, "quantizer"), column(section, "psnr"), strict=True)
    assert [name for name, cell in named if cell.best] == ["rq"]
    lpips = column(section, "lpips")
    assert min((c.value for c in lpips if c.value is not None), key=float) == next(c.value for c in lpips if c.best)
    assert not any(cell.best for cell in column(section, "bpp"))


def test_ties_as_printed_share_bold_and_equal_columns_have_none() -> None:
    def psnr(name: str, value: float) -> Record:
        return record(name, metrics={"psnr": metric(value, "PSNR"), "ssim": metric(0.5, "SSIM")})

    section = only(comparison([psnr("vq", 30.001), psnr("rq", 30.002), psnr("lfq", 29.0)]))
    assert sorted(cell.best for cell in column(section, "psnr")) == [False, True, True]
    assert not any(cell.best for cell in column(section, "ssim"))


def test_missing_values_say_why_and_how() -> None:
    missing = metric(None, "rFID", "lower", note="needs the Inception weights: tokbench weights get inception")
    section = only(comparison([record("vq", metrics={"rfid": missing}), record("rq", metrics={"rfid": missing})]))
    cells = column(section, "rfid")
    assert [cell.text for cell in cells] == ["-", "-"]
    assert section.notes[cells[0].note or 0] == "rFID: needs the Inception weights: tokbench weights get inception"
    other = only(comparison([record("vq", metrics={"extra": metric(1.0, "extra")}), record("rq")], columns=["extra"]))
    assert other.notes == ["extra: not measured for this row."]


def test_a_caveat_beside_a_value_is_a_note_too() -> None:
    section = only(comparison([record(metrics={"usage": metric(0.1, "usage", note="only 10 positions")})]))
    (cell,) = column(section, "usage")
    assert cell.text == "0.100" and cell.note is not None and "only 10 positions" in section.notes[cell.note]


def test_rows_by_depth_carry_the_rate_and_the_values_of_the_prefix() -> None:
    whole = record("rq", 256, 4)
    section = only(comparison([whole], by_depth=True))
    assert texts(section, "quantizer") == ["rq, first 1 of 4", "rq, first 2 of 4", "rq, first 3 of 4", "rq"]
    assert [c.value for c in column(section, "bits")] == [2048, 4096, 6144, 8192]
    assert [c.value for c in column(section, "bpp")] == [0.5, 1.0, 1.5, 2.0]
    assert [c.value for c in column(section, "psnr")] == pytest.approx(whole.metrics["psnr"].by_depth)
    assert texts(section, "codes")[1] == "16×16×2"
    assert texts(section, "params")[:3] == ["", "", ""] and texts(section, "usage")[:3] == ["", "", ""]


def test_rows_of_a_pyramid_say_how_much_of_the_codebook_each_scale_uses() -> None:
    rate = {
        "tokens": [21, 1], "codebook_sizes": [256], "bits_per_position": 8.0, "bits_per_image": 168.0,
        "bits_per_pixel": 0.1, "prefixes": [1, 5, 21],
    }  # fmt: skip
    metrics = {
        "psnr": metric(20.0, "PSNR", by_depth=[15.0, 18.0, 20.0]),
        "usage": metric(0.9, "usage", by_depth=[0.1, 0.5, 0.8]),
    }
    whole = record("ms-rq", 256, 1, rate=rate, metrics=metrics)
    section = only(comparison([whole], by_depth=True))
    assert [cell.value for cell in column(section, "usage")] == [0.1, 0.5, 0.9]
    few, some, _ = (section.notes[c.note] if c.note is not None else "" for c in column(section, "usage"))
    assert "of what the row adds alone; only" in few and few.endswith("positions for a codebook of 256")
    assert "of what the row adds alone" in some


def test_no_row_by_depth_where_only_the_use_of_the_codes_was_measured_so() -> None:
    whole = record("rq", 256, 4, metrics={"usage": metric(0.7, "usage", by_depth=[0.9, 0.8, 0.6, 0.5])})
    metrics = {k: m if k == "usage" else m | {"by_depth": None} for k, m in whole.plain()["metrics"].items()}
    section = only(comparison([whole.replace(metrics=metrics)], by_depth=True))
    assert texts(section, "quantizer") == ["rq"]


def test_a_prefix_of_unequal_codebooks_costs_what_its_codes_cost() -> None:
    rate = {
        "tokens": [4, 4, 3], "codebook_sizes": [2, 8, 16], "bits_per_position": 8.0,
        "bits_per_image": 128.0, "bits_per_pixel": 128 / 4096,
    }  # fmt: skip
    section = only(comparison([record("rq", 2, 3, rate=rate)], by_depth=True))
    assert [c.value for c in column(section, "bits")] == [16, 64, 128]
    assert texts(section, "K") == ["2", "2·8", "2·8·16"]


def test_default_order_is_by_rate_then_psnr() -> None:
    section = only(comparison([record("rq", 256, 2), record("lfq", 256), record("vq", 256), record("vq", 64)]))
    pairs = zip(column(section, "bpp"), column(section, "psnr"), strict=True)
    keys = [(float(bpp.value or 0), float(psnr.value or 0)) for bpp, psnr in pairs]
    assert keys == sorted(keys)


def test_sorting_by_a_metric_puts_the_best_first_and_what_is_missing_last() -> None:
    rows = [record("vq", 64), record("vq", 1024), record("lfq", metrics={"psnr": metric(None, "PSNR")})]
    down = [c.value for c in column(only(comparison(rows, sort="psnr")), "psnr")]
    up = [c.value for c in column(only(comparison(rows, sort="-psnr")), "psnr")]
    assert down[-1] is None and up[-1] is None and down[:2] == up[1::-1] and down[0] > down[1]  # type: ignore[operator]
    lpips = [c.value for c in column(only(comparison(rows[:2], sort="lpips")), "lpips")]
    assert lpips == sorted(lpips)  # type: ignore[type-var]
    assert texts(only(comparison(rows, sort="name")), "quantizer")[0] == "lfq"


def test_columns_are_chosen_by_key_alias_family_and_path() -> None:
    rows = [record(metrics={"lpips_vgg": metric(0.3, "LPIPS (vgg)", "lower")})]
    section = only(comparison(rows, columns=["name", "codebook_size", "DEPTH", "lpips_vgg", "recipe.training.lr"]))
    assert [c.key for c in section.columns] == ["name", "K", "D", "lpips_vgg", "recipe.training.lr"]
    assert section.rows[0].cells[-1].value == 1e-3
    with pytest.raises(TokbenchError, match=r"'psrn' \(did you mean 'psnr'\?\)"):
        comparison(rows, columns=["psrn"])
    with pytest.raises(TokbenchError, match="no column"):
        comparison(rows, sort="nonsense")


def test_rows_the_usual_columns_cannot_tell_apart_get_one_that_can() -> None:
    ema, live = record(), record(id="x", cell="y", weights={"which": "live"})
    section = only(comparison([ema, live]))
    assert sorted(texts(section, "weights")) == ["ema", "live"]
    assert "name" not in [c.key for c in section.columns]


def test_grouping_makes_tables() -> None:
    table = comparison([record("vq", 64), record("vq", 256), record("rq", 256)], group_by="K")
    assert [section.title.rpartition(" · ")[2] for section in table.sections] == ["K 64", "K 256"]


def test_published_rows_are_marked_never_best_and_beside_what_they_compare_with() -> None:
    data = {"spec": "hub:imagenet-1k", "split": "val", "n": 50000, "size": 256, "protocol": "tokbench-v1"}
    mine = record("vq", data=data, metrics={"rfid": metric(99.0, "rFID", "lower")})
    table = comparison([mine, record("rq")], published=True)
    section = next(s for s in table.sections if "imagenet-1k" in s.title)
    kinds = [row.entry.published for row in section.rows]
    assert kinds == sorted(kinds) and kinds.count(False) == 1 and kinds.count(True) > 20
    rows: list[Row] = [row for row in section.rows if row.entry.published]
    assert all(not cell.best for row in rows for cell in row.cells)
    named = zip(texts(section, "name"), kinds, strict=True)
    assert all(text.endswith("†") == is_published for text, is_published in named)
    assert any("CompVis/taming-transformers README" in text for text in texts(section, "source"))
    assert any(remark.startswith("† published") for remark in section.remarks)
    assert any("Tokenizers · photos" in s.title and len(s.rows) == 1 for s in table.sections)


def test_unverified_rows_stay_out_unless_asked_for() -> None:
    rows = published.load()
    assert {(r.provenance or "").partition(":")[0] for r in rows} == {"read", "second-hand", "unverified"}
    counts = []
    for unverified in (False, True):
        table = comparison([], published=True, unverified=unverified)
        counts.append(sum(len(section.rows) for section in table.sections))
    assert counts[1] == len(rows) and counts[0] == len(published.verified(rows)) < len(rows)


def test_bd_rate_column() -> None:
    section = next(s for s in comparison(sweep(), bd_rate="vq").sections if s.context.kind == "tokenizer")
    found = dict(zip(texts(section, "quantizer"), column(section, "bd_rate"), strict=True))
    assert found["vq"].value == pytest.approx(0) and float(found["rq"].value or 0) < 0 < float(found["lfq"].value or 0)
    with pytest.raises(TokbenchError, match="did you mean 'vq'"):
        comparison(sweep(), bd_rate="vqq")
    lonely = only(comparison([record("vq"), record("rq")], bd_rate="vq"))
    assert any("fewer than two points" in note for note in lonely.notes)


def test_where() -> None:
    rows = sweep()
    assert {r.quantizer["name"] for r in where(rows, ["quantizer=rq,vq"])} == {"rq", "vq"}
    assert {r.quantizer["codebook_size"] for r in where(rows, ["K=256"])} == {256}
    assert {r.seed for r in where(rows, ["seed!=0", "quantizer=vq"])} == {1, 2}
    assert where(rows, ["depth=4", "recipe.training.lr=0.001"]) and not where(rows, ["recipe.training.lr=1"])
    for wrong, says in (("quantzer=rq", "did you mean 'quantizer'"), ("rq", "KEY=VALUE")):
        with pytest.raises(TokbenchError, match=says):
            where(rows, [wrong])


def test_by_id_takes_a_unique_beginning() -> None:
    rows = [record(id="abc1", cell="z1"), record(id="abd2", cell="z2")]
    assert by_id(rows, "abc").id == "abc1" and by_id(rows, "z2").id == "abd2"
    with pytest.raises(TokbenchError, match="begins 2 ids: abc1"):
        by_id(rows, "ab")
    for missing in ("q", ""):
        with pytest.raises(TokbenchError, match="no run"):
            by_id(rows, missing)


def test_grey_and_colour_stand_in_sections_of_their_own_and_published_rows_beside_colour() -> None:
    data = {"spec": "hub:imagenet-1k", "split": "val", "n": 50000, "size": 256}
    versions = {"tokbench-v1": "rgb", "tokbench-v1-grey": "grey"}
    rows = [
        record(name, cell=protocol, data={**data, "protocol": protocol}, metrics={"rfid": metric(9.0, "rFID", "lower")})
        for protocol, name in versions.items()
    ]
    table = comparison(rows, published=True)
    found = {name: next(s for s in table.sections if name in texts(s, "quantizer")) for name in versions.values()}
    assert "protocol tokbench-v1-grey" in found["grey"].title and len(found["grey"].rows) == 1
    assert any(row.entry.published for row in found["rgb"].rows) and "grey" not in texts(found["rgb"], "quantizer")

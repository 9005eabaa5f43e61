"""The plan of ``tokbench bench gpu``: what is run, in which order, what is kept; what is counted; what travels."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tokbench.bench.gpu import group, memory, run, search
from tokbench.bench.gpu.account import BANDWIDTH, GPU, SHARE, counted
from tokbench.bench.gpu.plan import STEPS, chosen
from tokbench.bench.gpu.process import processes
from tokbench.bench.gpu.step import Bar, Setting, Step
from tokbench.bench.quantizers import Case
from tokbench.bench.sampling import Contender
from tokbench.cli.bench_gpu import bench_gpu
from tokbench.errors import TokbenchError
from tokbench.results.locks import alone
from tokbench.training.peak_flops import peak_flops

Began = list[str]


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> Began:
    """Keys of the steps that were begun; each is done in two seconds, but for ``lfq``, which fails."""
    keys: Began = []
    clock = [0.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def at_once(running: SimpleNamespace, setting: Setting, seconds: float) -> str:
        keys.append(running.step.key)
        clock[0] += 2.0
        if running.step.key == "lfq":
            return "Traceback\nRuntimeError: no luck"
        run._keep(running.step, setting, run.DONE, 2.0, says="fine", bars=[])
        return ""

    monkeypatch.setattr(run, "_in_own_process", at_once)
    monkeypatch.setattr(run, "processes", none_started)
    return keys


def none_started(steps: list[Step], setting: Setting) -> Iterator[SimpleNamespace]:
    """In the place of processes that would import for seconds."""
    yield from (SimpleNamespace(step=step) for step in steps)


def quiet(line: str) -> None:
    pass


def test_a_second_call_does_what_is_left_and_then_what_failed(tmp_path: Path, began: Began) -> None:
    setting, keys = Setting("cuda", False, tmp_path), [step.key for step in STEPS]
    first = run.run(setting, minutes=80 / 60, say=quiet)
    short, left = [], 80.0
    for step in STEPS:  # a third of the longest it may take must be left
        if left >= step.most / 3:
            short.append(step.key)
            left -= 2.0
    assert began == short and 0 < len(short) < len(keys)
    assert [found.step.key for found in first] == keys
    assert {f.step.key: f.state for f in first if f.state != "done"} == {
        "lfq": "failed", **{key: "" for key in keys if key not in short}
    }  # fmt: skip
    failed = json.loads((tmp_path / "lfq.json").read_text())
    assert failed["says"] == "RuntimeError: no luck" and failed["said"].startswith("Traceback") and failed["git"]
    began.clear()
    run.run(setting, minutes=60.0, say=quiet)
    assert began == [*(key for key in keys if key not in short), "lfq"]
    began.clear()
    run.run(setting, minutes=60.0, only=["draw-1"], say=quiet)
    assert began == ["draw-1"]  # asked for by name: once more
    began.clear()
    run.run(Setting("cpu", True, tmp_path), minutes=60.0, say=quiet)
    assert began == keys  # a rehearsal is no measurement, and the other way round


def test_a_repeat_that_fails_leaves_the_record_of_before(tmp_path: Path, began: Began) -> None:
    setting, lines = Setting("cuda", False, tmp_path), []
    run._keep(chosen(["lfq"])[0], setting, run.DONE, 5.0, says="fine", bars=[])
    before = (tmp_path / "lfq.json").read_bytes()
    (found,) = run.run(setting, minutes=60.0, only=["lfq"], say=lines.append)
    assert began == ["lfq"] and (found.state, found.seconds) == ("done", 5.0)
    assert (tmp_path / "lfq.json").read_bytes() == before
    assert lines[-1] == "  RuntimeError: no luck; its earlier record stays"


def test_what_the_end_of_the_time_stopped_goes_first_where_there_is_far_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def forever(running: SimpleNamespace, setting: Setting, seconds: float) -> str:
        clock[0] += seconds
        return f"stopped after {seconds:.0f} s"

    monkeypatch.setattr(run, "_in_own_process", forever)
    monkeypatch.setattr(run, "processes", none_started)
    setting, (first, second, *rest) = Setting("cuda", False, tmp_path), STEPS
    had = second.most / 2
    found = run.run(setting, minutes=(first.most + had) / 60, say=quiet)
    assert [f.state for f in found] == ["failed", "stopped", *([""] * len(rest))]
    assert run.order(STEPS, setting, 1.1 * had, again=False) == [*rest, first, second]
    assert run.order(STEPS, setting, 2 * had, again=False) == [second, *rest, first]


def test_what_a_step_had_found_before_it_was_stopped_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it comes to its end, whose record nothing that is less replaces."""
    setting, [step], rows = Setting("cpu", True, tmp_path), chosen(["search-1024"]), [8, 64]
    clock = [0.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(search, "sizes", lambda setting, codes, dims: [((2, 64), d, 64) for d in (8, 64)])

    def row(case: Case, setting: Setting) -> dict[str, object]:
        d = case.shape[-1]
        return {"dim": rows[rows.index(d)], "seconds": 1.0, "ratio": None, "encode_seconds": 0.5, "wrong": 0}

    def here(running: SimpleNamespace, setting: Setting, seconds: float) -> str:
        try:
            run.child(step.key, setting.device, "1", str(setting.folder), setting.data)
        except SystemExit:
            clock[0] += seconds
            return "stopped after 9 s"
        return ""

    monkeypatch.setattr(search, "_row", row)
    monkeypatch.setattr(run, "_in_own_process", here)
    monkeypatch.setattr(run, "processes", none_started)
    first, both = "d=8: 1000.00 ms (alone), encode 500.00 ms", ["d=8", "d=64"]
    rows.remove(64)
    for _ in range(2):
        [found] = run.run(setting, minutes=1.0, only=[step.key], say=quiet)
        assert (found.state, found.says) == ("stopped", f"{first}; then stopped after 9 s")
        assert run.order([step], setting, 60.0, again=False) == [step]
    record = json.loads((tmp_path / "search-1024.json").read_text())
    assert [row["dim"] for row in record["result"]["rows"]] == [8] and record["git"] and record["bars"][0]["met"]
    rows.append(64)
    for _ in range(2):
        [found] = run.run(setting, minutes=1.0, only=[step.key], say=quiet)
        assert found.state == "done" and [says.split(":")[0] for says in found.says.split(", ") if ":" in says] == both
        rows = [8]  # the second time it is stopped again


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    step, setting = STEPS[0], Setting("cuda", False, tmp_path)
    run._keep(step, setting, run.DONE, 2.0, says="fine", bars=[{"met": True, "text": "x"}])
    assert run.found(step, setting).state == "done"
    whole = json.loads((tmp_path / f"{step.key}.json").read_text())
    changes: list[dict[str, object]] = [{"seconds": "2"}, {"bars": [{}]}, {"state": "well"}, {"says": 0}]
    damaged = [json.dumps(whole | change) for change in changes]
    for content in ("", "{}", "[]", '{"on": "cuda", "tiny": false}', "\x00", *damaged):
        (tmp_path / f"{step.key}.json").write_text(content)
        assert run.found(step, setting).state == ""


def test_a_step_writes_its_record_itself_and_a_mistake_is_its_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokbench.bench.sampling.bandwidth", lambda device: 1e10)
    run.child("draw-1", "cpu", "1", str(tmp_path), "photos")
    record = json.loads((tmp_path / "draw-1.json").read_text())
    assert (record["state"], record["on"], record["tiny"]) == ("done", "cpu", True)
    assert len(record["result"]["rows"]) == 2 and record["bars"] and record["device"].startswith("CPU")
    assert record["says"].startswith("8x8x4 ")
    monkeypatch.setattr("tokbench.bench.sampling.bandwidth", lambda device: 1 / 0)
    with pytest.raises(SystemExit):
        run.child("draw-1", "cpu", "1", str(tmp_path), "photos")
    assert capsys.readouterr().err.strip().endswith("ZeroDivisionError: division by zero")
    with pytest.raises(SystemExit) as error:
        run.child("tests-nowhere", "cpu", "1", str(tmp_path), "photos")
    assert str(error.value.code).startswith("--only tests-nowhere: no such step")


@pytest.mark.slow
def test_every_step_in_a_rehearsal_and_what_it_should_take(tmp_path: Path) -> None:
    found = run.run(Setting("cpu", True, tmp_path), minutes=60.0, say=print)
    assert {f.step.key: f.says for f in found if f.state != "done"} == {}
    assert all(step.work().seconds + step.fixed < step.most for step in STEPS)
    assert {p.suffix for p in tmp_path.glob("*.*")} == {".json", ".jsonl"}  # no log is left


def started(code: str) -> subprocess.Popen[bytes]:
    """A group whose leader runs ``code``, which has said that it is on."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == b"on\n"
    return process


def test_what_a_step_started_has_time_to_save(tmp_path: Path) -> None:
    saves = "trap 'sleep 0.2; echo saved; exit' TERM; echo on; while :; do sleep 0.05; done"
    process = started(f"import subprocess; subprocess.run(['sh', '-c', {saves!r}])")
    group.end(process)
    assert process.returncode == -signal.SIGTERM
    assert process.stdout is not None and process.stdout.read() == b"saved\n"  # and nobody holds it any more
    process.stdout.close()


def test_a_step_ends_with_who_waits_for_it_however_that_ends() -> None:
    process = started(
        "from tokbench.bench.gpu.group import wait_for_word; import subprocess; print('on', flush=True);"
        "wait_for_word(); p = subprocess.Popen(['sleep', '600']); print('at work', flush=True); p.wait()"
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"at work\n"
    process.stdin.close()
    assert process.stdout.read() == b"" and process.wait() == -signal.SIGTERM
    process.stdout.close()


def test_who_never_had_the_word_leaves_nothing(tmp_path: Path) -> None:
    """The second step's process is there while the first has its turn, and gone with whoever asked for them."""
    running = processes(STEPS[:3], Setting("cpu", True, tmp_path))
    first = next(running)
    assert sorted(log.name for log in tmp_path.glob("*.log")) == sorted(f"{step.key}.log" for step in STEPS[:2])
    assert first.step is STEPS[0] and first.process.poll() is None
    running.close()
    assert first.process.poll() is not None and not list(tmp_path.iterdir())


def test_one_call_at_a_time(tmp_path: Path, began: Began) -> None:
    setting = Setting("cuda", False, tmp_path)
    with alone(tmp_path / ".lock", "busy"), pytest.raises(TokbenchError, match="another `bench gpu` is at work here"):
        run.run(setting, minutes=60.0, say=quiet)
    assert not began


def test_names_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({step.key for step in STEPS}) == len(STEPS)
    with pytest.raises(TokbenchError, match="--only drwa-1: no such step.*draw-1"):
        chosen(["drwa-1"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TokbenchError, match="no GPU here: --rehearse .* --dry-run"):
        bench_gpu(out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_bars() -> None:
    assert Bar("x", 3.0, 3.0).met and not Bar("x", 2.9, 3.0).met and Bar("x", 2.9, 3.0, least=False).met
    assert not Bar("x", None, 0.0).met and Bar("x", None, 3.0).text() == "x: none (>= 3: NOT met)"


def test_the_plan_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "large", lambda: iter([("a large thing", counted(lambda: torch.ones(2**20)))]))
    bench_gpu(only=["search-16384,tests-training"], dry_run=True)
    shown = " ".join(capsys.readouterr().out.split())
    assert "search-16384" in shown and "tests-training" in shown and "a large thing" in shown
    assert "estimates for NVIDIA H100 80GB HBM3, not measurements" in shown


# What is counted --------------------------------------------------------------------------------------------------


def test_a_product_is_counted() -> None:
    a, b = torch.empty(512, 256, device="meta"), torch.empty(256, 1024, device="meta")
    work = counted(lambda: (a @ b).t()[:5])
    moved = 4 * (512 * 256 + 256 * 1024 + 512 * 1024)
    assert (work.flops, work.bytes, work.peak) == (2 * 512 * 256 * 1024, moved, 4 * 512 * 1024)
    peak = peak_flops(GPU, "fp32")
    assert peak and work.seconds == pytest.approx(max(work.flops / peak, moved / BANDWIDTH) / SHARE)


def test_memory_that_was_freed_is_not_in_the_peak_twice() -> None:
    def work() -> None:
        x = torch.empty(2**20, device="meta", requires_grad=True)
        for _ in range(5):
            (x * 2).sum()
        (x * x).sum().backward()

    found = counted(work)
    assert 3 * 2**22 <= found.peak < 5 * 2**22  # x, its product or its gradient's parts


def test_a_drawing_is_counted_as_it_would_be_done() -> None:
    stack = Contender("RQ 2x2x3", (2, 2, 3), 2, 1)
    one, two = (memory.sampler(stack, 16, 2, 32, batch, graphs=on) for batch, on in ((1, True), (2, False)))
    layers, head = 2 * 12 * 16**2, 12 * 16**2
    least = 2 * (4 * layers + 12 * head + 12 * 16 * 32)  # the products with every weight, at each place and depth
    assert least < one.flops < 2 * least and two.flops == pytest.approx(2 * one.flops, rel=0.01)
    assert two.seconds > 10 * one.seconds and two.peak > one.peak  # launches are what little there is

"""Building by name, the errors of it, sweep configurations, and vector-quantize-pytorch's classes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import quantizers as Q

README = Path(Q.__file__).with_name("README.md")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Q.get("rqq"), "no quantizer is named 'rqq' (did you mean 'rq'?)"),
        (
            lambda: Q.build("rq", dim=4, codebok_size=3),
            "rq has no option 'codebok_size' (did you mean 'codebook_size'?)",
        ),
        (lambda: Q.build("rq", dim=4, codebook_size=8), "rq needs depth"),
        (lambda: Q.build("vq", dim=4, codebook_size="8"), "vq: codebook_size must be an integer, not '8'"),
        (lambda: Q.build("vq", dim=4, codebook_size=True), "vq: codebook_size must be an integer, not True"),
        (lambda: Q.build("vq", dim=4, codebook_size=8, beta_on="codebok"), "did you mean 'codebook'?"),
        (lambda: Q.build("fsq", levels=[8, "5"]), "fsq: levels must be a list of an integer"),
        (lambda: Q.VQ(4, 0), "VQ: codebook_size must be an integer of at least 1, not 0"),
        (lambda: Q.LFQ(1000), "lfq needs a codebook size that is a power of two; 1000 is not (nearest 1024)"),
        (lambda: Q.LFQ(2**10, factor_bits=[5, 6]), "factor_bits [5, 6] must add up to 10"),
        (lambda: Q.LFQ(2**64, factor_bits=[32, 32]), "LFQ: factor_bits splits one code, and 64 bits are 2"),
        (lambda: Q.LFQ(2**10, bits=10), "LFQ takes codebook_size or bits, not both (1024, 10)"),
        (lambda: Q.FSQ([8] * 21), "FSQ: 63 bits are more than one int64 code holds (62); quantizer grouped"),
        (lambda: Q.BSQ(64, factor_bits=[32, 32]), "BSQ: factor_bits splits one code, and 64 bits are 2"),
        (lambda: Q.VQ(4, 8, beta_on="codebook"), 'needs codebook_update="gradient"'),
        (lambda: Q.Grouped("vq", 3, 8, codebook_size=4), "dim 8 does not divide into 3 groups"),
        (lambda: Q.build("grouped", dim=8, quantizer="vq", groups=2, size=4), "vq has no option 'size'"),
        (lambda: Q.VQ(4, 8).load_codebook(torch.zeros(8, 5)), "the codebook is (8, 4), not (8, 5)"),
        (lambda: Q.RQ(4, 8, 2, False).load_codebook(torch.zeros(8, 4)), "the codebooks are (2, 8, 4), not (8, 4)"),
        (lambda: Q.build("vqp:ResidualVq", dim=4), "no class 'ResidualVq' (did you mean 'ResidualVQ'?)"),
        (lambda: Q.get("vq").configurations(codebook_size=4, depth=3), "vq has one code a position"),
        (lambda: Q.get("lfq").configurations(codebook_size=1000), "power of two; 1000 is not (nearest 1024)"),
        (lambda: Q.get("rq").configurations(bits=13), "rq cannot split 13 bits"),
        (lambda: Q.get("rq").configurations(bits=64, depth=1), "evenly over 1 codes of 4 to 62 bits"),
        (lambda: Q.get("fsq").configurations(bits=24), "fsq: no recommended levels near 2^24"),
    ],
)
def test_mistakes_are_one_clear_line(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="exists already"):
        Q.register("vq")(Q.LFQ)


def test_configurations() -> None:
    assert Q.get("vq").configurations(codebook_size=1024) == [{"codebook_size": 1024}]
    assert Q.get("rq").configurations(codebook_size=256) == [{"codebook_size": 256, "depth": 4}]
    assert Q.get("rq").configurations(bits=16) == [
        {"codebook_size": 256, "depth": 2},
        {"codebook_size": 16, "depth": 4},
    ]
    assert Q.get("bsq").configurations(bits=16) == [{"bits": 16}]
    assert Q.get("fsq").configurations(codebook_size=1024) == [{"levels": [8, 5, 5, 5]}]
    for name in ("vq", "rq", "lfq", "fsq", "bsq", "simvq", "ibq"):
        for kwargs in Q.get(name).configurations(bits=8):
            q = Q.build(name, dim=16, **kwargs)
            assert q.dim == 16 and abs(q.bits_per_vector - 8) < 0.2
            assert set(kwargs) <= set(Q.options(name))


THIRD_PARTY = {
    "VectorQuantize": {"codebook_size": 16},
    "ResidualVQ": {"codebook_size": 16, "num_quantizers": 3},
    "GroupedResidualVQ": {"codebook_size": 16, "num_quantizers": 3, "groups": 2},
    "LFQ": {"codebook_size": 16},
    "ResidualLFQ": {"codebook_size": 16, "num_quantizers": 3},
    "FSQ": {"levels": [5, 4]},
    "GroupedResidualFSQ": {"levels": [5, 4], "num_quantizers": 2, "groups": 2},
    "SimVQ": {"codebook_size": 16},
    "ResidualSimVQ": {"codebook_size": 16, "num_quantizers": 3},
}


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_vector_quantize_pytorch_runs_behind_the_interface(name: str) -> None:
    torch.manual_seed(0)
    q = Q.build(f"vqp:{name}", dim=8, channel_first=True, **THIRD_PARTY[name])  # type: ignore[arg-type]
    z = torch.randn(2, 8, 5, 3, requires_grad=True)
    out = q.train()(z)
    (out.quantized.sum() + out.loss).backward()
    assert z.grad is not None and out.loss.shape == ()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q.encode(z)
    assert all(torch.equal(before[k], v) for k, v in q.state_dict().items()) and q.training
    out = q.eval()(z)
    own = q.module(z.movedim(1, -1).reshape(2, 15, 8))[0]  # type: ignore[operator]
    assert torch.allclose(out.quantized, own.reshape(2, 5, 3, 8).movedim(-1, 1), atol=1e-5)
    assert out.indices.shape == (2, 5, 3, q.num_codebooks) and torch.equal(q.decode(out.indices), out.quantized)
    assert torch.allclose(q.embed(out.indices).sum(-2).movedim(-1, 1), out.quantized, atol=1e-5)
    if q.decodes_prefix:
        first = q.embed(out.indices)[..., 0, :].movedim(-1, 1)
        assert torch.allclose(q.decode(out.indices[..., :1]), first, atol=1e-5)
    assert Q.from_vector_quantize_pytorch(q.module).dim == 8  # type: ignore[arg-type]


def test_the_readme_runs() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))
    assert code.count("\n") > 30
    torch.manual_seed(0)
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


def test_the_library_imports_without_the_rest_and_plans_without_torchs_compiler() -> None:
    """Which takes seconds to load."""
    others = "('tokbench', 'vector_quantize_pytorch')"
    check = (
        f"import sys, torch, quantizers as Q; print([m for m in sys.modules if m.split('.')[0] in {others}])\n"
        "with torch.device('meta'): Q.VQ(4, 8), Q.RQ(4, 8, 2), Q.LFQ(8), Q.FSQ([5, 4]), Q.BSQ(4)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""MS-RQ beside the official modules of VAR and Infinity, and what is its own: scales, prefixes, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import quantizers as Q
from quantizers.functional import bits_to_index, index_to_bits
from quantizers.functional.pyramid import default_scales
from quantizers.ms_rq import MSRQ


def load(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with np.load(folder / f"{name}.npz") as data:
        arrays = {k: torch.from_numpy(v) for k, v in data.items() if v.dtype.kind in "fiub"}
        return json.loads(str(data["config"])), arrays


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b.to(a.dtype), atol=tolerance, rtol=tolerance)


def of_var(config: dict[str, Any], d: dict[str, Tensor], scales: Any = None) -> MSRQ:
    q = MSRQ(
        config["Cvae"],
        scales or config["v_patch_nums"],
        codebook_size=config["vocab_size"],
        codebook_update="gradient",
        beta=config["beta"],
        quant_resi=config["quant_resi"],
        share_quant_resi=config["share_quant_resi"],
        normalized_search=config["using_znorm"],
        channel_first=True,
    )
    weights = {"inner.codes.weight": d["sd.embedding.weight"], **phi_tensors(config, d, "sd.quant_resi", len(q.phi))}
    assert not q.load_state_dict(weights, strict=False).unexpected_keys
    return q


def phi_tensors(config: dict[str, Any], d: dict[str, Tensor], prefix: str, count: int) -> dict[str, Tensor]:
    names = {0: "{}", 1: "qresi"}.get(config["share_quant_resi"], "qresi_ls.{}")
    return {f"phi.{i}.{k}": d[f"{prefix}.{names.format(i)}.{k}"] for i in range(count) for k in ("weight", "bias")}


@pytest.mark.parametrize("name", ["qsr0_nonshared", "qsr1", "qsr3", "qsr4", "qsr4_noresi", "qsr4_znorm"])
def test_var(golden_successors: Path, name: str) -> None:
    config, d = load(golden_successors, f"var_quant_{name}")
    q, f = of_var(config, d), d["f"].requires_grad_()
    out = q.train()(f)
    assert torch.equal(out.indices[..., 0], d["indices"])
    close(out.quantized, d["f_hat"])
    close(out.loss, d["loss"])
    wanted = {"inner.codes.weight": d["grad_of_loss.embedding"]}
    wanted |= phi_tensors(config, d, "grad_of_loss.phi", len(q.phi))
    of_quantized = torch.autograd.grad((out.quantized * d["upstream"]).sum(), f, retain_graph=True)[0]
    out.loss.backward()
    close(of_quantized, d["grad_f_of_fhat_times_upstream"], 1e-6)
    close(f.grad, d["grad_f_of_loss"], 1e-6)  # type: ignore[arg-type]
    for key, parameter in q.named_parameters():
        close(parameter.grad, wanted[key], 1e-6)  # type: ignore[arg-type]

    codes = q.eval().encode(f)
    assert torch.equal(codes, out.indices)
    for i, count in enumerate(q.prefixes):
        close(q.decode(codes[:, :count]), d["fhat_per_scale"][:, i])
    close(q.next_inputs(codes), d["var_input"])


def test_var_of_maps_that_are_not_square(golden_successors: Path) -> None:
    config, d = load(golden_successors, "var_quant_rect")
    q = of_var(config, d, config["call_v_patch_nums"]).eval()
    codes = q.encode(d["f"])
    assert torch.equal(codes[..., 0], d["indices"])
    for i, count in enumerate(q.prefixes):
        close(q.decode(codes[:, :count]), d["fhat_per_scale"][:, i])


@pytest.mark.parametrize("name", ["bits8_s7", "bits14_s_rect", "bits18_s7", "bits8_decay"])
def test_infinity(golden_successors: Path, name: str) -> None:
    config, d = load(golden_successors, f"infinity_bsq_{name}")
    bits, scales = config["bits"], [pair[1:] for pair in config["scale_schedule"]]
    shrink = 0.1 if config.get("use_decay_factor") else 0.0
    options: dict[str, Any] = {"quantizer": "bsq", "bits": bits, "quant_resi": 0, "upsampling": "bilinear"}
    q, x = MSRQ(bits, scales, shrink=shrink, channel_first=True, **options), d["x"].requires_grad_()
    out = q.train()(x)
    (out.quantized * d["upstream"]).sum().backward()
    theirs = torch.cat([d[f"bits.{i}"].flatten(1, 2) for i in range(len(scales))], dim=1)
    assert torch.equal(index_to_bits(out.indices[..., 0], bits, msb_first=True), theirs.long())
    close(out.quantized, d["quantized"])
    close(x.grad, d["grad_x_of_quantized_times_upstream"])  # type: ignore[arg-type]
    for i, count in enumerate(q.prefixes):
        close(q.decode(out.indices[:, :count]), d["cumulative_per_scale"][:, i])
    inputs = [d[f"var_input.{i}"].flatten(2).transpose(1, 2) for i in range(len(scales) - 1)]
    close(q.next_inputs(out.indices), torch.cat(inputs, dim=1))


@pytest.mark.parametrize("kind", ["clean", "flipped"])
def test_infinitys_self_correction(golden_successors: Path, kind: str) -> None:
    """What is right after mistakes at coarser scales, and the maps that were read."""
    config, d = load(golden_successors, "infinity_self_correction")
    scales = [pair[1:] for pair in config["scale_schedule"]]
    q = MSRQ(8, scales, quantizer="bsq", bits=8, quant_resi=0, upsampling="bilinear", channel_first=True).eval()
    used = [bits_to_index(d[f"flipped.used_bits.{i}"].flatten(1, 2), msb_first=True)[..., None] for i in range(3)]
    if kind == "clean":
        used = []
    right, known = q.corrected(d["raw_features"], lambda codes, i: used[i] if i < len(used) else codes)
    assert torch.equal(index_to_bits(right[..., 0], 8, msb_first=True), d[f"{kind}.gt_bits"].bool())
    # Infinity brings the map to the next scale by interpolation here, and by areas in its quantizer, as we do.
    maps = [
        torch.nn.functional.interpolate(q.decode(known[:, :end]), scale, mode="bilinear").flatten(2).transpose(1, 2)
        for end, scale in zip(q.prefixes, scales[1:], strict=False)
    ]
    close(torch.cat(maps, dim=1), d[f"{kind}.x_BLC_wo_prefix"])


def test_scales_follow_from_the_first_map() -> None:
    assert [h for h, _ in default_scales((16, 16))] == [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
    assert [h for h, _ in default_scales((8, 8))] == [1, 2, 3, 4, 5, 6, 8] and len(default_scales((4, 4))) == 4
    assert default_scales((32, 16))[0] == (1, 1) and default_scales((32, 16))[-1] == (32, 16)
    q = MSRQ(8, codebook_size=16).eval()
    assert q.encode(torch.randn(2, 4, 4, 8)).shape == (2, 30, 1) and q.prefixes == (1, 5, 14, 30)
    settled = MSRQ(8, codebook_size=16)
    settled.settle((4, 8))
    assert settled.latent_grid == (4, 8) and settled.code_grid((4, 8)) == (settled.prefixes[-1],)


def test_a_dropped_scale_is_a_prefix_that_decodes() -> None:
    torch.manual_seed(0)
    q = MSRQ(4, [1, 2, 4], codebook_size=16, restart_threshold=0, codebook_update="gradient", scale_dropout=1.0)
    z = torch.randn(12, 4, 4, 4)
    out = q.train()(z)
    prefixes = [q.decode(out.indices[:, :n]) for n in q.prefixes]
    near = [[bool((x - whole[i]).abs().max() < 1e-5) for whole in prefixes] for i, x in enumerate(out.quantized)]
    assert all(sum(found) == 1 for found in near) and {found.index(True) for found in near} == {0, 1, 2}


def test_coarse_scales_keep_codes_of_their_own() -> None:
    """Maps whose means lie far from what is around them: unused codes restart on the few vectors of coarse scales too,
    and in the end the 1x1 scale tells the maps apart."""
    torch.manual_seed(0)
    q = MSRQ(4, [1, 2, 4, 8], codebook_size=64, quant_resi=0.0)
    means = 3 * torch.randn(16, 1, 1, 4)
    for _ in range(60):
        q.train()(means + 0.3 * torch.randn(16, 8, 8, 4))
    codes = q.eval().encode(means + 0.3 * torch.randn(16, 8, 8, 4))
    assert len(codes[:, 0].unique()) >= 12


def test_the_coarsest_scale_has_codes_beside_those_that_finer_ones_keep_in_use() -> None:
    """Vectors of 1x1 lie together, away from what finer scales are left with, which are 84 of 85: of 64 codes 7 were
    theirs when every vector counted alike."""
    torch.manual_seed(0)
    q = MSRQ(4, [1, 2, 4, 8], codebook_size=64, quant_resi=0.0)

    def maps(count: int) -> Tensor:
        return 3 + 0.5 * torch.randn(count, 1, 1, 4) + torch.randn(count, 8, 8, 4)

    for _ in range(100):
        q.train()(maps(16))
    coarse, *finer = (len(codes.unique()) for codes in q.split(q.eval().encode(maps(256))))
    assert coarse >= 12 and min(finer) >= 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scales": [1, 2, 8]}, "4x4 is the latent's grid, and the scales end at 8x8"),
        ({"scales": [4, 2, 1]}, "scales must rise: 2x2 follows 4x4"),
        ({"scales": [1, 1, 4]}, "scales must rise: 1x1 follows 1x1"),
        ({"scales": [[1, 4], [2, 3], 4]}, "scales must rise: 2x3 follows 1x4"),
        ({"scales": [0, 4]}, "scales are sides of at least 1, or pairs"),
        ({"scales": []}, "scales is empty"),
        ({"share_quant_resi": 0}, "say scales"),
        ({"quantizer": "bsq", "bits": 8, "codebook_size": None}, "codebook_size"),
        ({"normalized_search": True, "quantizer": "fsq", "levels": [5, 5]}, "normalized_search is for vq"),
        ({"rotation_trick": True}, "rotation_trick of vq is not used over scales"),
        ({"l2_norm": True, "rotation_trick": True}, "rotation_trick of vq is not used over scales"),
        ({"entropy_weight": 0.1}, "entropy_weight of vq is not used over scales"),
        ({"quantizer": "vqq"}, "no quantizer is named 'vqq'"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], said: str) -> None:
    settings = {"dim": 8, "codebook_size": 16} | options
    if settings.get("quantizer") == "fsq":
        del settings["codebook_size"], settings["dim"]
    with pytest.raises(ValueError) as error:
        Q.build("ms-rq", **settings).settle((4, 4))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_use_is_counted_at_each_scale() -> None:
    """As the codes of that scale alone give it; a copy that goes on from the state counts on."""
    torch.manual_seed(0)
    q = MSRQ(4, [1, 2, 4], codebook_size=16)
    codes = torch.cat([q.train()(torch.randn(3, 4, 4, 4)).indices for _ in range(2)])
    assert q.prefix_names == ("1x1", "2x2", "4x4") and q.usage.total == 6 * 21
    again = MSRQ(4, [1, 2, 4], codebook_size=16).usage
    again.load_state_dict(q.usage.state_dict())
    for usage in (q.usage, again):
        for part, own in zip(usage.parts, q.split(codes), strict=True):
            assert torch.equal(part.counts[0], torch.bincount(own.flatten(), minlength=16))
    old = {"seen": q.usage.state_dict()["seen"]}  # as checkpoints of an earlier version have it
    again.load_state_dict(old)
    assert again.total == 6 * 21 and again.parts[0].total == 0
    q.usage.reset()
    assert not any(part.total for part in q.usage.parts)


@pytest.mark.parametrize(
    ("inner", "made"),
    [
        ("vq", {"codebook_size": 371}),
        ("bsq", {"bits": 9}),
        ("lfq", {"codebook_size": 512}),
        ("fvq", "that is a square"),
        ("mcq", "cannot split 9 bits evenly"),
    ],
)
def test_bits_of_a_position_become_codes_of_as_many_as_each_scale_has(inner: str, made: dict[str, Any] | str) -> None:
    """16 bits at each of 4x4 positions are 8.5 of each of 30 codes, whatever is inside; several codes share them."""
    if isinstance(made, str):
        with pytest.raises(ValueError, match=made):
            Q.configurations("ms-rq", bits=16, grid=(4, 4), options={"quantizer": inner})
    else:
        assert Q.configurations("ms-rq", bits=16, grid=(4, 4), options={"quantizer": inner}) == [made]
    several = Q.configurations("ms-rq", bits=15, grid=(4, 4), options={"quantizer": "mcq"})
    assert several == [{"codebook_size": 16, "groups": 2}]


def test_codes_of_another_pyramid_are_refused() -> None:
    q = MSRQ(8, [1, 2, 4], codebook_size=16).eval()
    with pytest.raises(ValueError, match="decodes the first 1, 5, 21 codes .whole scales., not 7"):
        q.decode(torch.zeros(2, 7, 1, dtype=torch.int64))
    for wrong in (torch.randn(2, 16, 8), torch.randn(2, 8, 8, 8), torch.randn(2, 2, 4, 4, 8)):
        with pytest.raises(ValueError, match="is the latent's grid"):
            q.encode(wrong)
    with pytest.raises(ValueError, match="two axes"):
        MSRQ(8, codebook_size=16).encode(torch.randn(2, 16, 8))

"""What fingers do: index the output, pass arrays, spell a weight as others do, copy a skeleton."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_quantizer_contract as contract
import torch
from torch import Tensor

import quantizers as Q
from quantizers import registry

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def test_the_output_is_three_values_with_names() -> None:
    out = Q.RQ(8, 16, 2)(torch.randn(2, 5, 8))
    quantized, indices, loss = out
    assert len(out) == 3 and out[0] is quantized and out[1] is indices and out[2] is loss and out[-1] is loss
    assert out[:2] == (quantized, indices) and list(out)[2] is out.loss
    with pytest.raises(IndexError):
        out[3]
    assert out == out and out != Q.QuantizerOutput(*out)  # by identity: tensors have no one truth
    leaves = torch.utils._pytree.tree_leaves(out)
    assert len(leaves) == 3 + len(out.losses)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 6, 8), np.float32), r"takes z as a torch.Tensor \(torch.from_numpy makes one\), not ndarray"),
        (None, "takes z as a torch.Tensor, not NoneType"),
        ([[0.0] * 8], "takes z as a torch.Tensor, not list"),
        (1.5, "takes z as a torch.Tensor, not float"),
        (torch.zeros(2, 6, 8, dtype=torch.int32), "takes a floating-point z, not torch.int32"),
        (torch.zeros(2, 6, 8, dtype=torch.complex64), "takes a floating-point z, not torch.complex64"),
        (torch.zeros(2, 6, 8, dtype=torch.bool), "takes a floating-point z, not torch.bool"),
        (torch.zeros(8), r"takes z of shape .*, not \(8,\)"),
        (torch.tensor(1.0), r"takes z of shape .*, not \(\)"),
        (torch.zeros(2, 6, 8).to_sparse(), "takes z as a dense tensor"),
        (torch.nested.nested_tensor([torch.zeros(2, 8), torch.zeros(3, 8)]), "takes z as a dense tensor"),
    ],
)
def test_z_of_another_kind(given: Any, message: str) -> None:
    q = Q.VQ(8, 16)
    for call in (q, q.eval(), q.encode, q.soft_targets, q.sample):
        with pytest.raises(ValueError, match=message) as error:
            call(given)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [np.zeros((2, 5, 1), np.int64), None, [[[0]]], 3])
def test_codes_of_another_kind(given: Any) -> None:
    q = Q.VQ(8, 16)
    for call in (q.decode, q.embed):
        with pytest.raises(ValueError, match="VQ takes codes as a torch.Tensor"):
            call(given)


@pytest.mark.parametrize("cls", [Q.VQ, Q.SimVQ, Q.IBQ])
def test_one_name_for_the_commitment(cls: Any) -> None:
    more = {"codebook_update": "gradient"} if cls is Q.VQ else {}

    def loss(**weights: Any) -> Tensor:
        torch.manual_seed(0)
        q = cls(8, 16, **more, **weights)
        return q(torch.randn(2, 5, 8)).loss

    if cls is Q.IBQ:
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {"beta": 0.25}),
            ({"codebook_weight": 2}, {"beta": 2}),
        ]
        pairs += [({"commitment_weight": 1.0}, {"beta": 0.25})]
    else:
        pairs = [
            ({}, {"beta": 0.25}),
            ({"commitment_weight": 0.5}, {"beta": 0.5, "beta_on": "commitment"}),
            ({"commitment_weight": 1.0, "codebook_weight": 0.5}, {"beta": 0.5, "beta_on": "codebook"}),
            ({"commitment_weight": 1, "codebook_weight": 0.25}, {"beta_on": "codebook"}),
        ]
    for ours, theirs in pairs:
        assert torch.equal(loss(**ours), loss(**theirs)), ours
    assert loss(commitment_weight=0.5) != loss(commitment_weight=0.0)
    with pytest.raises(ValueError, match="give one or the other"):
        cls(8, 16, **more, commitment_weight=0.25, beta=0.25)
    with pytest.raises(ValueError, match="commitment_weight must be a number from 0"):
        cls(8, 16, **more, commitment_weight=-1)


@pytest.mark.parametrize("name", Q.names())
def test_commitment_weight_is_the_name_everywhere(name: str) -> None:
    """Where a quantizer weighs a commitment at all: FSQ has no loss, others hand their options on."""
    options = Q.options(name)
    assert "beta" not in options or "commitment_weight" in options


def test_there_is_no_codebook_loss_to_weigh_beside_a_moving_average() -> None:
    with pytest.raises(ValueError, match='codebook_weight needs codebook_update="gradient"'):
        Q.VQ(8, 16, codebook_weight=1.0)


def test_the_skeleton_of_contributing_passes_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(CONTRIBUTING), "exec"), {"__name__": "mine"})
    assert Q.configurations("mine", bits=8) == [{"codebook_size": 256}]
    contract.test_described("mine")
    for kwargs in Q.get("mine").examples():
        for train in (True, False):
            contract.test_layouts("mine", kwargs, train)
        contract.test_other_dtypes_are_quantized_in_fp32("mine", kwargs, torch.bfloat16)
        for check in (
            contract.test_eval_is_a_function_of_the_codes,
            contract.test_encode_in_training_changes_nothing,
            contract.test_gradients_reach_z_and_parameters,
            contract.test_state_dict_and_deepcopy,
            contract.test_usage_counts_every_forward,
            contract.test_meta_device,
            contract.test_bad_input_is_one_clear_line,
            contract.test_large_finite_values_pass_the_check,
        ):
            check("mine", kwargs)

"""VQ-GAN's GPT out of the installed taming-transformers, with the weights of an ``AR``, to be timed beside ours."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.bench.kakao import thirds
from tokbench.config.condition import CodesConfig
from tokbench.errors import TokbenchError
from tokbench.generators.ar import AR
from tokbench.generators.sampling import Sampling


class TamingGPT(nn.Module):
    """taming's own module. It has one table for conditions and codes (code 0 starts a sequence without a condition)
    and a classifier without a bias; those weights of ``model`` must agree with that (see ``alike``).

    Raises:
        TokbenchError: taming-transformers is not installed, or has no such model.
    """

    def __init__(self, model: AR) -> None:
        super().__init__()
        settings, released = model.settings, {"input": "learned", "positions": "learned", "depth_layers": 0}
        if any(getattr(settings, key) != value for key, value in released.items()):
            needs = ", ".join(f"{key}={value}" for key, value in released.items())
            raise TokbenchError(f"taming: beside it goes only an ar with {needs}")
        self.sampler: Any = mingpt()
        before, state = model.condition.config.places, model.state_dict()
        self.starts = not isinstance(model.condition.config, CodesConfig)
        self.gpt = self.sampler.GPT(
            vocab_size=model.vocabulary[0],
            block_size=before + model.places - 1,
            n_layer=settings.layers,
            n_head=settings.heads,
            n_embd=settings.width,
        )
        names = {"norm1": "ln1", "norm2": "ln2", "mlp.0": "mlp.0", "mlp.2": "mlp.2", "attention.out": "attn.proj"}
        first = state["position_condition"].view(before, -1)
        theirs = {
            "tok_emb.weight": state["embedding.vectors"],
            "pos_emb": torch.cat([first, state["position"][:-1]])[None],
            "ln_f.weight": state["norm.weight"],
            "ln_f.bias": state["norm.bias"],
            "head.weight": state["classifiers.0.weight"],
        }
        for i, block in enumerate(model.body.blocks):
            for kind in ("weight", "bias"):
                theirs |= {f"blocks.{i}.{b}.{kind}": state[f"body.blocks.{i}.{a}.{kind}"] for a, b in names.items()}
                parts = zip(("query", "key", "value"), thirds(block.attention.qkv), strict=True)  # type: ignore[union-attr, arg-type]
                theirs |= {f"blocks.{i}.attn.{part}.{kind}": getattr(layer, kind) for part, layer in parts}
        masks = {name: t for name, t in self.gpt.state_dict().items() if name.endswith("attn.mask")}
        self.gpt.load_state_dict({**theirs, **masks})
        self.before, self.places = before, model.places

    def first(self, condition: Tensor) -> Tensor:
        """Checked conditions (B, ...) as the first of the sequence, (B, N)."""
        return torch.zeros_like(condition)[:, None] if self.starts else condition.flatten(1)

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Codes (B, T, 1), checked conditions -> logits (B, T, 1, K)"""
        sequence = torch.cat([self.first(condition), codes[..., 0]], dim=1)
        logits: Tensor = self.gpt(sequence[:, :-1])[0]
        return logits[:, self.before - 1 :, None]

    def loss(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Nats per code."""
        return F.cross_entropy(self(codes, condition).flatten(0, -2), codes.flatten())

    @torch.no_grad()
    def sample(self, condition: Tensor, sampling: Sampling) -> Tensor:
        """Checked conditions (B, ...) -> codes (B, T, 1), by ``sample_with_past``."""
        how = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        codes: Tensor = self.sampler.sample_with_past(self.first(condition), self.gpt, steps=self.places, **how)
        return codes[..., None]


@torch.no_grad()
def alike(model: AR) -> AR:
    """``model`` with the weights that taming's one table and its classifier make equal."""
    rows = model.embedding.vectors
    model.condition.weight.copy_(rows[: len(model.condition.weight)])  # type: ignore[operator, union-attr, arg-type]
    model.classifiers[0].bias.zero_()  # type: ignore[operator, union-attr]
    return model


def mingpt() -> Any:
    """``taming.modules.transformer.mingpt``. It takes a filter of logits from transformers, which has none any more:
    what it did stands in its place."""
    stand_in, real = ModuleType("transformers"), sys.modules.get("transformers")
    stand_in.top_k_top_p_filtering = filtering  # type: ignore[attr-defined]
    sys.modules["transformers"] = stand_in
    try:
        from taming.modules.transformer import mingpt as found
    except ImportError as error:
        raise TokbenchError(f"taming-transformers is not here ({error}): pip install 'tokbench[peers]'") from None
    finally:
        del sys.modules["transformers"]
        if real is not None:
            sys.modules["transformers"] = real
    return found


def filtering(logits: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits (B, K) with those out of the top k, then out of the top p, at -inf."""
    if top_k > 0:
        edge = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < edge, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        out = F.softmax(ordered, dim=-1).cumsum(-1) > top_p
        out[..., 1:] = out[..., :-1].clone()
        out[..., 0] = False
        logits = logits.masked_fill(out.scatter(1, order, out), -torch.inf)
    return logits

"""RQ-Transformer as its authors compute it, to be timed beside ours: it cannot be installed.

Stated anew after kakaobrain/rq-vae-transformer ``rqvae/models/rqtransformer``: three products for queries, keys and
values with the places moved to the front and back, scores and mask in full, a cache that grows by concatenation, the
vectors of all codes so far looked up again at every code, a filter that sorts the vocabulary even where it lets all of
it through. The weights are copies of ours.

Shape legend: B batch, N places of the condition, T positions, D codes per position, K vocabulary, C width.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.generators.ar import AR
from tokbench.generators.sampling import Sampling
from tokbench.generators.transformer import Block as OurBlock
from tokbench.generators.transformer import Transformer


def thirds(qkv: nn.Linear) -> list[nn.Linear]:
    """Queries, keys and values of one product as three, with copies of its weights."""
    found = []
    for weight, bias in zip(qkv.weight.detach().chunk(3), qkv.bias.detach().chunk(3), strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        found.append(layer)
    return found


class Block(nn.Module):
    """Of the transformer, with the keys and values of what it has seen."""

    def __init__(self, like: OurBlock) -> None:
        super().__init__()
        self.heads = like.attention.heads
        self.norm1, self.norm2, self.mlp, self.out = like.norm1, like.norm2, like.mlp, like.attention.out
        self.query, self.key, self.value = thirds(like.attention.qkv)
        self.past: Tensor | None = None  # (2, B h, places, c)

    def forward(self, x: Tensor, keep: bool = False) -> Tensor:
        """(B, M, C) -> (B, M, C); ``keep``: after what was kept before."""
        x = x + self.attention(self.norm1(x), keep)
        return x + self.mlp(self.norm2(x))

    def attention(self, x: Tensor, keep: bool) -> Tensor:
        batch, length, width = x.shape
        x = x.transpose(0, 1).contiguous()
        k, q, v = (
            part(x).view(length, batch * self.heads, width // self.heads).transpose(0, 1)
            for part in (self.key, self.query, self.value)
        )
        before = 0
        if keep and self.past is not None:
            before = self.past.shape[2]
            k, v = torch.cat([self.past[0], k], dim=-2), torch.cat([self.past[1], v], dim=-2)
        if keep:
            self.past = torch.stack([k, v])
        scores = torch.bmm(q, k.transpose(-2, -1) * (1.0 / math.sqrt(k.shape[-1])))
        total = before + length
        seen = torch.tril(torch.ones(total, total, device=x.device, dtype=torch.bool))[None, before:]
        scores = F.softmax(scores.masked_fill(~seen, -math.inf), dim=-1)
        y = torch.bmm(scores, v).transpose(0, 1).contiguous().view(length, batch, width)
        return self.out(y).transpose(0, 1).contiguous()


class Stack(nn.Module):
    def __init__(self, like: Transformer) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(block) for block in like.blocks)  # type: ignore[arg-type]

    def forward(self, x: Tensor, keep: bool = False) -> Tensor:
        for block in self.blocks:
            x = block(x, keep)
        return x

    def forget(self) -> None:
        for block in self.blocks:
            block.past = None  # type: ignore[assignment]


class Kakao(nn.Module):
    """RQ-Transformer with a copy of the weights of ``model``, of shared code vectors and one classifier.

    Raises:
        TokbenchError: an ``AR`` of other settings than the released models'.
    """

    def __init__(self, model: AR) -> None:
        super().__init__()
        settings, released = model.settings, {"input": "codes", "positions": "learned", "depth_context": "sum"}
        other = [key for key, value in released.items() if getattr(settings, key) != value]
        if other or not settings.depth_layers or len(model.classifiers) > 1 or not model.config.shared_codes:
            needs = ", ".join(f"{key}={value}" for key, value in released.items())
            raise TokbenchError(f"kakao: beside it goes only an ar with {needs}, depth layers and shared code vectors")
        own = copy.deepcopy(model)
        self.depth, self.condition, self.vectors = own.depth, own.condition, own.embedding.vectors
        self.body, self.head = Stack(own.body), Stack(own.head)
        assert own.position is not None and own.position_condition is not None
        self.position, self.position_condition = own.position, own.position_condition
        self.position_depth = own.position_depth
        self.body_in, self.head_in = own.embedding.body_in, own.embedding.depth_in
        with torch.no_grad():
            self.body_in.bias.div_(own.depth)  # type: ignore[operator, union-attr]  # theirs is added once per code
        self.classifier = nn.Sequential(own.norm, own.classifiers[0])

    @torch.no_grad()
    def embed(self, codes: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D, channels), a look-up for each depth."""
        return torch.cat([F.embedding(part, self.vectors) for part in codes.chunk(self.depth, dim=-1)], dim=-2)

    def start(self, condition: Tensor) -> Tensor:
        """(B, N, C)"""
        x: Tensor = self.condition(condition)
        return x + self.position_condition

    def body_input(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Codes (B, T, D) -> (B, N + T - 1, C)"""
        x = self.body_in(self.embed(codes)).sum(-2) + self.position[: codes.shape[1]]
        return torch.cat([self.start(condition), x[:, :-1]], dim=1)

    def head_input(self, codes: Tensor, context: Tensor) -> Tensor:
        """Codes (B, T, D), outputs (B, T, C) of the body -> (B, T, D, C)"""
        sums = self.head_in(self.embed(codes).cumsum(-2))
        return torch.cat([context[:, :, None], sums[:, :, :-1]], dim=-2) + self.position_depth

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Codes (B, T, D), checked conditions -> logits (B, T, D, K)"""
        batch, places, depth = codes.shape
        context = self.body(self.body_input(codes, condition))[:, -places:]
        inputs = self.head_input(codes, context).reshape(batch * places, depth, -1)
        logits: Tensor = self.classifier(self.head(inputs).reshape(batch, places, depth, -1))
        return logits

    def loss(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Nats per code."""
        return F.cross_entropy(self(codes, condition).flatten(0, -2), codes.flatten())

    @torch.no_grad()
    def sample(self, condition: Tensor, sampling: Sampling) -> Tensor:
        """Checked conditions (B, ...) -> codes (B, T, D), by the cache."""
        batch, places = len(condition), len(self.position)
        codes = torch.zeros(batch, places, self.depth, dtype=torch.int64, device=condition.device)
        self.body.forget()
        for t in range(places):
            seen = codes[:, : t + 1].clone()
            x = self.body_input(seen, condition)
            context = self.body(x if t == 0 else x[:, -1:], keep=True)[:, -1:]
            self.head.forget()
            for d in range(self.depth):
                seen = codes[:, : t + 1].clone()
                all_sums = self.head_in(self.embed(seen).cumsum(-2))
                inputs = torch.cat([context, all_sums[:, t, :-1]], dim=1) + self.position_depth
                logits = self.classifier(self.head(inputs[:, d, None], keep=True)).reshape(batch, -1)
                codes[:, t, d] = drawn(logits, sampling)
        self.body.forget()
        self.head.forget()
        return codes


def drawn(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits (B, K) -> codes (B,): top-k and top-p go through all of the vocabulary, whatever they let through."""
    logits = logits.float() / sampling.temperature
    kept = logits.topk(min(sampling.top_k or logits.shape[-1], logits.shape[-1])).values
    logits = logits.masked_fill(logits < kept[:, -1:], -math.inf)
    if bool(logits.isnan().sum()):
        raise TokbenchError("kakao: not a number among the logits")
    probabilities = F.softmax(logits, dim=-1)
    ordered, order = probabilities.sort(dim=-1, descending=True)
    out = ordered.cumsum(-1) >= sampling.top_p
    out[..., 1:] = out[..., :-1].clone()
    out[..., 0] = False
    probabilities = probabilities.masked_fill(out.scatter(-1, order, out), 0.0)
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities.multinomial(1)[:, 0]

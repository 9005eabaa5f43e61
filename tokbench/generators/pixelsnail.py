"""PixelSNAIL: gated causal convolutions, and attention to all positions before.

Chen et al. 2017 (arXiv:1712.09763; neocxi/pixelsnail-public) in the form used on codes: VQ-VAE-2 (Razavi et al. 2019,
arXiv:1906.00446) by rosinality/vq-vae-2-pytorch. The D codes of a position have a head each, which reads the position's
features plus the vectors of the codes before it.

Shape legend: B batch, H rows, W columns, T = H W positions, D codes a position, K_d vocabulary at depth d, C width.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig, PixelSNAILConfig
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.embedding import CodeEmbedding
from tokbench.generators.gated import CausalConv, Gated, Past, StrictAttention, SymmetricConv, Told
from tokbench.models.vit import through

COORDINATES = 2  # channels that say where a position is


class Block(nn.Module):
    """Gated layers, then attention whose keys also see the block's input; or a convolution in its place."""

    def __init__(self, settings: PixelSNAILConfig, condition: int, told: int) -> None:
        super().__init__()
        width, dropout = settings.width, settings.dropout
        self.layers = nn.ModuleList(
            Gated.causal(width, settings.hidden, settings.kernel, dropout, condition) for _ in range(settings.layers)
        )
        self.attention = settings.attention
        if not settings.attention:
            self.out_conv = CausalConv(width + COORDINATES, width)
            return
        key, query, made = 2 * width + COORDINATES, width + COORDINATES, width // 2
        self.key = Gated.pointwise(key, width, dropout)
        self.query = Gated.pointwise(query, width, dropout)
        self.attend = StrictAttention(query, key, made, settings.heads, dropout, told)
        self.out = Gated.pointwise(width, width, dropout, side=made)

    def forward(
        self, x: Tensor, where: Tensor, condition: Tensor | None, past: Past | None, told: Told | None
    ) -> Tensor:
        """(B, C, H, W), coordinates (B, 2, H, W), a condition's map and what is told -> (B, C, H, W)."""
        y = x
        for layer in self.layers:
            y = layer(y, past, condition=condition)
        if not self.attention:
            return cast(Tensor, self.out_conv(torch.cat([y, where], dim=1), past))
        keys = self.key(torch.cat([x, y, where], dim=1), past)
        queries = self.query(torch.cat([y, where], dim=1), past)
        return cast(Tensor, self.out(y, past, side=self.attend(queries, keys, past, told)))


def make_blocks(settings: PixelSNAILConfig, condition: int = 0, told: int = 0) -> nn.ModuleList:
    """The blocks, before whose gates a condition of so many channels is added, or whose attention is told one; 0 for
    none."""
    return nn.ModuleList(Block(settings, condition, told) for _ in range(settings.blocks))


class ConditionMap(nn.Module):
    """A condition that is a map, seen as a whole: a convolution and gated layers."""

    def __init__(self, settings: PixelSNAILConfig, given: int, side: int = 3) -> None:
        super().__init__()
        hidden = settings.condition_hidden
        self.first = SymmetricConv(given, hidden, side)
        self.layers = nn.ModuleList(
            Gated.whole(hidden, side, settings.dropout) for _ in range(settings.condition_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, hidden, h, w)."""
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


class PixelSNAIL(Autoregressive):
    """A class is added as a vector before every gate; a map of codes first goes through layers of its own and is spread
    over the grid, whose sides are multiples of its. What has neither, a text, is told to every block's attention, its
    mean being added to the first features; without a condition the vector that stands for none is.

    A grid that is not a map is read as one: a row of tokens as a single row, a clip frame below frame."""

    where: Tensor

    @staticmethod
    def stacks(settings: PixelSNAILConfig) -> list[nn.Module]:
        return [make_blocks(settings)]

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        settings = config.generator
        assert isinstance(settings, PixelSNAILConfig)
        self.settings = settings
        width, kernel, half = settings.width, settings.kernel, settings.kernel // 2
        self.checkpointing = False
        self.embedding = CodeEmbedding(config, depth_stack=False)
        given = self.embedding.channels if settings.input == "onehot" else width
        self.above = CausalConv(given, width, (half, kernel), half, half)
        self.left = CausalConv(given, width, (half + 1, half), half - 1)
        channels = config.condition_width
        self.condition_map = None
        if settings.condition_layers:
            self.condition_map = ConditionMap(settings, channels)
            channels = settings.condition_hidden
        self.conditional, places = config.spread or config.num_classes > 0, config.condition.places
        tells = places > 1 and not config.spread
        self.place = nn.Parameter(torch.randn(places, channels) * 0.02) if tells else None
        self.blocks = make_blocks(settings, channels if self.conditional else 0, channels if tells else 0)
        self.out = nn.ModuleList(
            Gated.pointwise(width, settings.hidden, settings.dropout) for _ in range(settings.out_layers)
        )
        self.heads = nn.ModuleList(CausalConv(width, size) for size in config.vocabulary)
        # What a head reads of the codes before its own: a table for every depth but the last.
        self.depth_vectors = nn.ModuleList(nn.Embedding(size, width) for size in config.vocabulary[:-1])
        for table in self.depth_vectors:
            nn.init.normal_(cast(nn.Embedding, table).weight, std=0.02)
        self.sides = math.prod(self.grid[:-1]), self.grid[-1]  # H, W
        self.register_buffer("where", coordinates(*self.sides), persistent=False)

    # Maps ------------------------------------------------------------------------------------------------------

    def inputs(self, sums: Tensor) -> Tensor:
        """Sums of code vectors (B, ..., channels) -> what the first convolutions read, (B, ..., C)."""
        return self.embedding.into_body(sums).to(self.above.direction.dtype)

    def spread(self, condition: Tensor) -> Tensor:
        """Checked conditions (B, ...) -> (B, channels, H, W)."""
        x: Tensor = self.condition(condition)
        x, map = x.transpose(1, 2), self.config.condition.map
        if not self.config.spread:
            shown = self.condition.shown(condition)
            weight = x.new_ones(len(x), x.shape[2]) if shown is None else shown.to(x.dtype)
            x, map = (x @ weight[..., None]) / weight.sum(1)[:, None, None], (1,) * len(self.grid)
        if self.condition_map is not None:
            x = self.condition_map(x.unflatten(2, (math.prod(map[:-1]), map[-1]))).flatten(2)
        return F.interpolate(x.unflatten(2, map), size=self.grid, mode="nearest").flatten(2).unflatten(2, self.sides)

    def told(self, condition: Tensor) -> Told | None:
        """Of checked conditions (B, ...) that are sequences, what the attention sees."""
        if self.place is None:
            return None
        x = self.condition(condition) + self.place
        return Told(x.transpose(1, 2)[:, :, None], self.condition.shown(condition))

    def first(self, x: Tensor) -> Tensor:
        """Inputs (B, C, H, W) -> features (B, C, H, W) of what lies before each position."""
        return F.pad(self.above(x), (0, 0, 1, -1)) + F.pad(self.left(x), (1, -1))

    def features(
        self, x: Tensor, where: Tensor, condition: Tensor, told: Told | None, past: Past | None = None
    ) -> Tensor:
        """First features (B, C, rows, W), the coordinates and spread condition there -> features for the heads."""
        where = where.to(x.dtype).expand(len(x), -1, -1, -1)
        if not self.conditional:
            x = x + condition
        above = condition if self.conditional else None
        x = through(self.blocks, x, self.checkpointing and self.training, where, above, past, told)
        for layer in self.out:
            x = layer(x, past)
        return x

    def classify(self, x: Tensor, depth: int, past: Past | None = None) -> Tensor:
        """(..., C) -> logits (..., K_d)."""
        head = cast(CausalConv, self.heads[depth])
        weight = head.weight() if past is None else past.once(head, head.weight)
        return F.linear(F.elu(x), weight[:, :, 0, 0], head.bias)

    def _logits(self, sequence: Tensor, condition: Tensor) -> list[Tensor]:
        x = self.inputs(self.embedding(sequence).sum(-2)).transpose(1, 2).unflatten(2, self.sides)
        features = self.features(self.first(x), self.where, self.spread(condition), self.told(condition))
        x, found = features.flatten(2).transpose(1, 2), []
        for depth in range(self.depth):
            found.append(self.within(self.classify(x, depth)))
            if depth + 1 < self.depth:
                x = x + self.depth_vectors[depth](sequence[..., depth])
        return found

    def decoder(self, batch: int) -> RowDecoder:
        return RowDecoder(self, batch)


class RowDecoder:
    """A :class:`~tokbench.generators.autoregressive.Decoder` that computes, for every position, its row alone: of the
    rows above it keeps what the convolutions and the attention need."""

    def __init__(self, model: PixelSNAIL, batch: int) -> None:
        self.model = model
        like = model.above.direction
        self.maps = like.new_zeros(batch, like.shape[1], *model.sides)
        self.context = like.new_zeros(batch, model.settings.width)
        self.sums = model.embedding.vectors.new_zeros(batch, model.embedding.channels)

    def restart(self, condition: Tensor, codes: Tensor | None = None) -> None:
        """Begin with these conditions (R, ...), after codes (R, t, D): of their rows all that is kept is computed."""
        model, columns = self.model, self.model.sides[1]
        self.maps.zero_()
        self.past, self.condition, self.told = Past(), model.spread(condition), model.told(condition)
        if codes is None or not codes.shape[1]:
            return
        inputs = model.inputs(model.embedding(codes).sum(-2)).transpose(1, 2)
        self.maps.flatten(2)[:, :, : codes.shape[1]] = inputs
        for row in range(-(-codes.shape[1] // columns)):
            self.begin(row * columns)

    def begin(self, t: int) -> None:
        """The features of position ``t``."""
        model = self.model
        row, column = divmod(t, model.sides[1])
        if row and not column:
            self.past.commit()
        near = self.maps[:, :, max(0, row - model.settings.kernel) : row + 1]  # all that the first features see
        here = slice(row, row + 1)
        x = model.first(near)[:, :, -1:]
        x = model.features(x, model.where[:, :, here], self.condition[:, :, here], self.told, self.past)
        self.context = x[:, :, 0, column]
        self.sums = torch.zeros_like(self.sums)

    def logits(self, t: int, d: int) -> Tensor:
        """(R, K_d), given everything before depth ``d`` of position ``t``."""
        return self.model.classify(self.context, d, self.past)

    def push(self, t: int, d: int, codes: Tensor) -> None:
        """Codes (R,) of depth ``d`` at position ``t`` are settled."""
        model = self.model
        self.sums = self.sums + model.embedding.at(d, codes)
        if d + 1 < model.depth:
            self.context = self.context + model.depth_vectors[d](codes)
        else:
            row, column = divmod(t, model.sides[1])
            self.maps[:, :, row, column] = model.inputs(self.sums)


def coordinates(height: int, columns: int) -> Tensor:
    """(1, 2, H, W): the row and the column of each position, from -1/2 up to below 1/2."""
    axes = [(torch.arange(side).float() - side / 2) / side for side in (height, columns)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]

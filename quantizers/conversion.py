"""Weights of vector-quantize-pytorch's modules in this library's classes, where one of them computes the same.

Nothing of that package is imported: its classes are known by their names, and the attributes that are read are those of
its version 1.32. The copy gives the same codes and the same reconstruction; losses have the same weights where both
sides have the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantizers.base import Quantizer
from quantizers.bsq import BSQ
from quantizers.codebook import Codebook
from quantizers.fsq import FSQ
from quantizers.grouped import Grouped
from quantizers.lfq import LFQ
from quantizers.residual import Residual
from quantizers.rq import RQ
from quantizers.simvq import SimVQ
from quantizers.third_party import channel_first_flag
from quantizers.vq import VQ


class NoCounterpartError(ValueError):
    """What a module has that no class here computes; the message completes "because of ..."."""


@torch.no_grad()
def converted(module: nn.Module) -> Quantizer:
    """A quantizer of this library with the weights, the device, the mode and the layout of ``module``.

    Raises:
        NoCounterpartError: there is none that gives the same codes and learns in the same way.
    """
    kind = type(module)
    if not kind.__module__.startswith("vector_quantize_pytorch") or kind.__name__ not in _CONVERSIONS:
        raise NoCounterpartError(f"its class {kind.__name__}")
    try:
        made = _CONVERSIONS[kind.__name__](module)
    except AttributeError as error:
        raise NoCounterpartError(f"its version, of which this knows nothing ({error})") from error
    made.channel_first = bool(channel_first_flag(module))
    first = next(chain(module.parameters(), module.buffers()))  # each of these classes has some
    return made.to(first.device).train(module.training)


def _refuse(**found: object) -> None:
    """NoCounterpartError naming the first setting that is in use."""
    for name, value in found.items():
        if value:
            raise NoCounterpartError(name)


def _project(made: Quantizer, module: Any) -> None:
    """The linear maps on either side, where both have them."""
    for name in ("project_in", "project_out"):
        ours, theirs = getattr(made, name), getattr(module, name)
        if ours is None:
            _refuse(**{name: not isinstance(theirs, nn.Identity)})
        elif type(theirs) is not nn.Linear:
            raise NoCounterpartError(f"its {name}, a {type(theirs).__name__}")
        else:
            _copy_linear(ours, theirs)


def _copy_linear(ours: nn.Linear, theirs: nn.Linear) -> None:
    ours.weight.copy_(theirs.weight)
    if theirs.bias is None:
        ours.bias.zero_()
    else:
        ours.bias.copy_(theirs.bias)


def _vector_quantize(module: Any) -> Quantizer:
    _check_codebook(module)
    if module.heads > 1:
        _refuse(project_in=module.has_projections, heads=not module.separate_codebook_per_head)
        # Grouped means over groups, as their loss does over heads.
        made = Grouped(_vq(module, module.dim // module.heads), module.heads)
        for head, part in enumerate(made.parts):
            _load(cast(VQ, part).codes, module._codebook, head)
        return made
    vq = _vq(module, module.dim)
    _project(vq, module)
    _load(vq.codes, module._codebook)
    return vq


def _vq(module: Any, dim: int) -> VQ:
    book, weight = module._codebook, float(module.commitment_weight)
    common: dict[str, Any] = {
        "codebook_dim": book.embed.shape[-1],
        "l2_norm": book.use_cosine_sim,
        "decay": book.decay,
        "eps": book.eps,
        "commitment_weight": weight,
        "restart_threshold": float(book.threshold_ema_dead_code),
        "kmeans_init": not bool(book.initted),
        "rotation_trick": bool(module.rotation_trick),
    }
    if book.learnable_codebook:  # one loss that pulls on both sides
        return VQ(dim, book.codebook_size, codebook_update="gradient", codebook_weight=weight, **common)
    return VQ(dim, book.codebook_size, **common)


def _check_codebook(module: Any) -> None:
    """What VectorQuantize can do in choosing and learning codes that no class here does."""
    book = module._codebook
    sampling = getattr(book.gumbel_sample, "keywords", {})
    _refuse(
        affine_param=book.affine_param,
        vq_bridge=book.vq_bridge is not None,
        freeze_codebook=module.freeze_codebook,
        commitment_use_cross_entropy_loss=module.commitment_use_cross_entropy_loss,
        orthogonal_reg_weight=module.has_codebook_orthogonal_loss,
        codebook_diversity_loss_weight=module.has_codebook_diversity_loss,
        directional_reparam=module.directional_reparam,
        in_place_codebook_optimizer=module.in_place_codebook_optimizer is not None,
        sync_update_v=module.sync_update_v,
        stochastic_sample_codes=sampling.get("stochastic"),
        straight_through=sampling.get("straight_through"),
        ema_update=not (book.ema_update or book.learnable_codebook),
        route_gradients_to_input=not module.route_gradients_to_input,
    )
    if book.use_cosine_sim and bool(book.initted) and (book.embed.norm(dim=-1) - 1).abs().max() > 1e-4:
        raise NoCounterpartError("use_cosine_sim with code vectors whose length is not 1")


def _load(ours: Codebook, theirs: Any, head: int = 0) -> None:
    if bool(theirs.initted):
        ours.load(theirs.embed[head], theirs.cluster_size[head], theirs.embed_avg[head])


def _residual_vq(module: Any, groups: int = 1) -> RQ:
    layers, depth = module.layers, module.num_quantizers
    for layer in layers:
        _check_codebook(layer)
    first = layers[0]
    beams = [size for size in (module.beam_size, module.eval_beam_size) if size is not None and size > 1]
    _refuse(
        beam_size=beams,
        implicit_neural_codebook=module.implicit_neural_codebook,
        diveq=module.diveq,
        quant_grad_frac=module.quant_grad_frac,
        use_cosine_sim=first.use_cosine_sim,
        learnable_codebook=first._codebook.learnable_codebook,
        codebook_size=not module.uniform_codebook_size,
    )
    dropout = bool(module.quantize_dropout)
    _refuse(
        quantize_dropout_cutoff_index=dropout and module.quantize_dropout_cutoff_index,
        quantize_dropout_multiple_of=dropout and module.quantize_dropout_multiple_of != 1,
    )
    book = first._codebook
    made = RQ(
        module.project_in.in_features if module.has_projections else module.codebook_dim,
        book.codebook_size,
        depth,
        module.shared_codebook,
        codebook_dim=module.codebook_dim,
        decay=book.decay,
        eps=book.eps,
        # The mean over depths (and groups) here is a list of losses there, which users add up.
        commitment_weight=float(first.commitment_weight) * depth * groups,
        restart_threshold=float(book.threshold_ema_dead_code),
        kmeans_init=not bool(book.initted),
        depth_dropout=float(dropout),
        rotation_trick=(dropout or "per_depth") if first.rotation_trick else False,
    )
    _project(made, module)
    for ours, layer in zip(made.codes, layers, strict=False):  # one codebook where it is shared
        _load(cast(Codebook, ours), layer._codebook)
    return made


def _grouped(module: Any, convert: Callable[..., Quantizer]) -> Grouped:
    parts = [convert(part, len(module.rvqs)) for part in module.rvqs]
    made = Grouped(parts[0], len(parts))
    _copy_each(made.parts, parts)
    return made


def _copy_each(ours: Sequence[Quantizer], converted: Sequence[Quantizer]) -> None:
    """The weights of what was converted in the copies of its first that ``Grouped`` and ``Residual`` make."""
    for mine, theirs in zip(ours, converted, strict=True):
        mine.load_state_dict(theirs.state_dict())


def _lfq(module: Any, weight: float = 1.0) -> Quantizer:
    """``weight``: of all losses."""
    _refuse(
        codebook_scale=module.codebook_scale != 1,
        soft_clamp_input_value=module.soft_clamp_input_value is not None,
        orthogonal_rotation=module.orthogonal_rotation,
        experimental_softplus_entropy_loss=module.experimental_softplus_entropy_loss,
        straight_through_activation=not isinstance(module.activation, nn.Identity),
    )
    single = module.num_codebooks == 1
    _refuse(num_codebooks=not single and module.has_projections)
    n, dim = module.codebook_dim, module.dim if single else module.codebook_dim
    entropy, commitment = weight * module.entropy_loss_weight, weight * module.commitment_loss_weight
    common: dict[str, Any] = {"temperature": 0.01, "diversity_weight": float(module.diversity_gamma)}
    made: Quantizer
    if module.spherical:  # BSQ scales its entropies by the temperature, and its commitment is a sum over channels
        weights = {"entropy_weight": entropy / 0.01, "commitment_weight": commitment / n}
        made = BSQ(n, dim, entropy_groups=[n], **weights, **common)
    else:
        weights = {"entropy_weight": entropy, "commitment_weight": commitment}
        made = LFQ(2**n, dim, bit_order="msb_first", entropy_anneal_steps=0, log_eps=1e-5, **weights, **common)
    if not single:
        return Grouped(made, module.num_codebooks)
    _project(made, module)
    return made


def _fsq(module: Any) -> Quantizer:
    _refuse(
        preserve_symmetry=module.preserve_symmetry,
        noise_dropout=module.noise_dropout,
        bound_hard_clamp=module.bound_hard_clamp,
        orthogonal_rotation=module.orthogonal_rotation,
    )
    single, levels = module.num_codebooks == 1, module._levels.tolist()
    _refuse(num_codebooks=not single and module.has_projections)
    made = FSQ(levels, module.dim if single else None)
    if not single:
        return Grouped(made, module.num_codebooks)
    _project(made, module)
    return made


def _residual_lfq(module: Any, groups: int = 1) -> Residual:
    first = module.layers[0]
    _refuse(
        spherical=first.spherical,
        num_codebooks=first.num_codebooks > 1,
        quantize_dropout=module.quantize_dropout,
    )
    dim = module.project_in.in_features if module.has_projections else first.dim
    # Residual's loss is a mean over depths; there it is a list, which users add up.
    made = Residual(_lfq(first, module.num_quantizers * groups), module.num_quantizers, dim)
    _project(made, module)
    return made


def _simvq(module: Any, weight: float = 1.0) -> SimVQ:
    """``weight``: of all losses."""
    linear, frozen = module.code_transform, cast(Tensor, module.frozen_codebook)
    if type(linear) is not nn.Linear:
        raise NoCounterpartError("codebook_transform")
    _refuse(frozen_codebook_dim=linear.in_features != linear.out_features)
    codebook = weight * module.commitment_weight
    made = SimVQ(
        linear.out_features,
        len(frozen),
        codebook_weight=codebook,
        commitment_weight=codebook * module.input_to_quantize_commit_loss_weight,
        rotation_trick=module.rotation_trick,
    )
    made.frozen.copy_(frozen)
    _copy_linear(made.map, linear)
    return made


def _residual_simvq(module: Any) -> Residual:
    _refuse(rotation_trick=module.layers[0].rotation_trick, quantize_dropout=module.quantize_dropout)
    stages = [_simvq(layer, module.num_quantizers) for layer in module.layers]
    made = Residual(stages[0], len(stages))
    _copy_each(made.stages, stages)
    return made


_CONVERSIONS: dict[str, Callable[[Any], Quantizer]] = {
    "VectorQuantize": _vector_quantize,
    "ResidualVQ": _residual_vq,
    "GroupedResidualVQ": lambda module: _grouped(module, _residual_vq),
    "LFQ": _lfq,
    "FSQ": _fsq,
    "ResidualLFQ": _residual_lfq,
    "GroupedResidualLFQ": lambda module: _grouped(module, _residual_lfq),
    "SimVQ": _simvq,
    "ResidualSimVQ": _residual_simvq,
}

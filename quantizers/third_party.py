"""vector-quantize-pytorch's classes behind this library's interface, for running them in the same comparisons, and for
moving on from them."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from quantizers.base import Quantizer
from quantizers.registry import did_you_mean, get


class VectorQuantizePytorch(Quantizer):
    """One module of vector-quantize-pytorch: anything with ``module(x (B, T, dim)) -> quantized, indices[, loss]`` and
    a way back from indices.

    Its index layouts, (B, T), (B, T, D) or (G, B, T, D), become (B, ..., D). loss: the sum of what the module returns,
    0 in eval mode; losses: ``auxiliary``, and ``auxiliary_per_depth`` where the module returns one per depth.
    """

    name = "vqp"
    summary = "a class of vector-quantize-pytorch"
    paper = "github.com/lucidrains/vector-quantize-pytorch"
    kept_for = ""  # what no class of this library has, where its weights were to be converted

    def __init__(self, module: nn.Module, dim: int, *, channel_first: bool = False, check_finite: bool = True) -> None:
        label = type(module).__name__
        if not (hasattr(module, "get_output_from_indices") or hasattr(module, "indices_to_codes")):
            raise ValueError(f"{label} of vector-quantize-pytorch has no way from indices back to vectors")
        if flag := channel_first_flag(module):
            raise ValueError(f"{label}: build it without {flag}; layouts are converted here")
        self.groups, self.depth = _groups(module), _depth(module)
        super().__init__(
            dim,
            code_dim=dim,
            codebook_sizes=[_codebook_size(module)] * (self.groups * self.depth),
            channel_first=channel_first,
            check_finite=check_finite,
        )
        self.module = module
        # A residual quantizer's later codes can be left out: its -1 means "no code".
        self.decodes_prefix = self.groups == 1 and hasattr(module, "num_quantizers")

    @property
    def label(self) -> str:
        return f"vqp:{type(self.module).__name__}" if "module" in self._modules else "vqp"

    def _encode(self, z: Tensor) -> Tensor:
        training = self.module.training
        self.module.eval()
        try:
            return self._ours(self.module(z)[1])
        finally:
            self.module.train(training)

    def _decode(self, codes: Tensor) -> Tensor:
        missing = self.num_codebooks - codes.shape[-1]
        return self._back(self._theirs(nn.functional.pad(codes, (0, missing), value=-1)))

    def _embed(self, codes: Tensor) -> Tensor:
        depth = codes.shape[-1]
        if depth > 1 and not hasattr(self.module, "get_output_from_indices"):
            raise ValueError(f"{self.label}: the module does not decode part of its codes, so they have no embeddings")
        # Differences of the decodes of 1, 2, ... codes, those after them left out.
        prefixes = [
            self._back(self._theirs(nn.functional.pad(codes[..., :d], (0, self.num_codebooks - d), value=-1)))
            for d in range(1, depth + 1)
        ]
        return torch.stack([p if i == 0 else p - prefixes[i - 1] for i, p in enumerate(prefixes)], dim=-2)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        quantized, indices, *rest = self.module(z)
        loss = rest[0] if rest and isinstance(rest[0], Tensor) else z.new_zeros(())
        losses = {"auxiliary": loss.detach().sum()}
        if loss.ndim:
            losses["auxiliary_per_depth"] = loss.detach().reshape(-1)
        return quantized, self._ours(indices), loss.sum(), losses

    def _ours(self, indices: Tensor) -> Tensor:
        if indices.ndim == 4:  # (G, B, T, D)
            indices = indices.movedim(0, 2).flatten(2)
        return indices.long().reshape(*indices.shape[:2], -1)

    def _theirs(self, codes: Tensor) -> Tensor:
        if hasattr(self.module, "rvqs"):
            return codes.unflatten(-1, (self.groups, self.depth)).movedim(2, 0)
        many = self.num_codebooks > 1 or hasattr(self.module, "num_quantizers")
        return codes if many else codes[..., 0]

    def _back(self, indices: Tensor) -> Tensor:
        find = getattr(self.module, "get_output_from_indices", None) or self.module.indices_to_codes
        assert callable(find)
        return find(indices)


def channel_first_flag(module: nn.Module) -> str:
    """The setting for which a module takes (B, dim, ...); empty where it takes (B, ..., dim)."""
    flags = ("accept_image_fmap", "accept_3d_fmap", "is_channel_first", "channel_first")
    found = next((flag for flag in flags if getattr(module, flag, False)), "")
    return found or ("" if getattr(module, "channel_last", True) else "channel_last=False")


def from_vector_quantize_pytorch(
    module: nn.Module,
    *,
    convert: bool = True,
    dim: int | None = None,
    channel_first: bool | None = None,
    check_finite: bool = True,
) -> Quantizer:
    """A module of vector-quantize-pytorch (VectorQuantize, ResidualVQ, LFQ, FSQ, SimVQ, ...) as a Quantizer.

    Where a class of this library computes the same, a copy in that class: the same codes and reconstruction, learning
    on from the same averages. Else the module itself, wrapped; ``kept_for`` then says which setting kept it.

    Args:
        convert: False wraps it in any case.
        dim: channels of z; needed only where the module does not say.
        channel_first: of the maps to come; None is what the module was built for.

    Raises:
        ValueError: it can be neither converted nor wrapped.
    """
    from quantizers.conversion import NoCounterpartError, converted

    if not isinstance(module, nn.Module):
        raise ValueError(
            f"from_vector_quantize_pytorch takes one of that package's modules, not {type(module).__name__}"
        )
    kept_for = ""
    if convert:
        try:
            made = converted(module)
        except NoCounterpartError as error:
            kept_for = str(error)
        else:
            made.channel_first = made.channel_first if channel_first is None else channel_first
            made.check_finite = check_finite
            return made
    found = _dim(module) if dim is None else dim
    if found is None:
        raise ValueError(f"{type(module).__name__} does not tell its dim: pass dim=")
    wrapped = VectorQuantizePytorch(module, found, channel_first=bool(channel_first), check_finite=check_finite)
    wrapped.kept_for = kept_for
    return wrapped.train(module.training)


def build_vector_quantize_pytorch(
    class_name: str, *, dim: int | None, channel_first: bool = False, check_finite: bool = True, **kwargs: Any
) -> Quantizer:
    """``build("vqp:ResidualVQ", dim=..., ...)``: construct the class of that name and wrap it."""
    cls = _class(class_name)
    parameters = inspect.signature(cls.__init__).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in kwargs:
            if key not in parameters:
                raise ValueError(f"vqp:{class_name} has no option {key!r}{did_you_mean(key, parameters)}")
    if dim is None:
        raise ValueError(f"vqp:{class_name} needs dim")
    # Some of its constructors read values, which tensors on the meta device have not.
    place = torch.device("cpu") if torch.get_default_device().type == "meta" else nullcontext()
    try:
        with place:
            module = cls(dim=dim, **kwargs)
    except (AssertionError, TypeError) as error:
        raise ValueError(f"vqp:{class_name}: {error}") from error
    return VectorQuantizePytorch(module, dim, channel_first=channel_first, check_finite=check_finite)


def third_party_options(class_name: str) -> dict[str, inspect.Parameter]:
    """The constructor's arguments, without ``dim``."""
    parameters = inspect.signature(_class(class_name).__init__).parameters
    return {key: p for key, p in parameters.items() if key not in ("self", "dim")}


def third_party_configurations(
    class_name: str, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
) -> list[dict[str, Any]]:
    """Its classes in a sweep: RQ's grid where they take ``num_quantizers``, FSQ's where ``levels``, else VQ's."""
    options = third_party_options(class_name)
    if "levels" in options:
        found = get("fsq").configurations(codebook_size=codebook_size, bits=bits)
        stages = {"num_quantizers": depth or 4} if "num_quantizers" in options else {}
        return [{"levels": list(f["levels"]), **stages} for f in found]
    if "num_quantizers" in options:
        found = get("rq").configurations(codebook_size=codebook_size, depth=depth, bits=bits)
        return [{"codebook_size": f["codebook_size"], "num_quantizers": f["depth"]} for f in found]
    like = get("lfq" if class_name == "LFQ" else "vq")
    return like.configurations(codebook_size=codebook_size, depth=depth, bits=bits)


def _class(class_name: str) -> type[nn.Module]:
    try:
        import vector_quantize_pytorch as package
    except ImportError as error:
        raise ValueError(f"vqp:{class_name} needs the package vector-quantize-pytorch installed") from error
    classes = {k: v for k, v in vars(package).items() if inspect.isclass(v) and issubclass(v, nn.Module)}
    # Containers of torch that the package happens to import are not quantizers.
    classes = {k: v for k, v in classes.items() if v.__module__.startswith("vector_quantize_pytorch")}
    if class_name not in classes:
        raise ValueError(f"vector-quantize-pytorch has no class {class_name!r}{did_you_mean(class_name, classes)}")
    return classes[class_name]


def _groups(module: nn.Module) -> int:
    return len(module.rvqs) if isinstance(getattr(module, "rvqs", None), nn.ModuleList) else 1  # type: ignore[arg-type]


def _depth(module: nn.Module) -> int:
    inner = module.rvqs[0] if _groups(module) > 1 or hasattr(module, "rvqs") else module  # type: ignore[index]
    for attribute in ("num_quantizers", "num_codebooks", "heads"):
        if hasattr(inner, attribute):
            return int(getattr(inner, attribute))
    return 1


def _codebook_size(module: nn.Module) -> int:
    for part in module.modules():
        size = getattr(part, "codebook_size", None)
        if isinstance(size, int):
            return size
    raise ValueError(f"{type(module).__name__} does not tell its codebook size")


def _dim(module: nn.Module) -> int | None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            return part.in_features
        if isinstance(getattr(part, "dim", None), int):
            return int(part.dim)  # type: ignore[arg-type]
    return None

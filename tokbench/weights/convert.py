"""From the files that people publish to one layout for each network."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, first_line
from tokbench.weights.catalogue import Weights
from tokbench.weights.readers import check_archive, read_numpy_pickle, read_torchscript


def convert(weights: Weights, path: Path) -> dict[str, Tensor]:
    """The tensors of ``path``, in the layout of ``weights``. The file's kind is told from its content.

    Raises:
        TokbenchError: a kind of file that is not known, or tensors that do not belong to this network.
    """
    check_archive(path)
    try:
        converters = {"inception": _inception, "lpips": _lpips, "i3d": _i3d, "efficientnet-lite": _efficientnet_lite}
        return converters[weights.layout](weights.name, path)
    except KeyError as missing:
        raise TokbenchError(f"{path}: no tensor {missing} in it, so not the weights {weights.name!r}") from None


def _inception(name: str, path: Path) -> dict[str, Tensor]:
    if _kind(path) == "torchscript":
        return _rename_inception(read_torchscript(path))
    return {key: value for key, value in read_state(path).items() if not key.endswith("num_batches_tracked")}


def _lpips(name: str, path: Path) -> dict[str, Tensor]:
    net = name.removeprefix("lpips-")
    convolutions = CONVOLUTIONS[net]
    result: dict[str, Tensor] = {}
    if _kind(path) == "pickle":
        arrays = read_numpy_pickle(path)
        trunk = {"alex": "AlexNet_0", "vgg": "VGG16_0"}[net]
        for order, index in enumerate(convolutions):
            kernel = torch.from_numpy(arrays[f"{trunk}.Conv_{order}.kernel"])
            result[f"features.{index}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
            result[f"features.{index}.bias"] = torch.from_numpy(arrays[f"{trunk}.Conv_{order}.bias"])
        for tap in range(5):
            head = torch.from_numpy(arrays[f"NetLinLayer_{tap}.Conv_0.kernel"])
            result[f"lin{tap}.weight"] = head.permute(3, 2, 0, 1).contiguous()
        return result
    state = read_state(path)
    for index in convolutions:
        for part in ("weight", "bias"):
            result[f"features.{index}.{part}"] = state[f"features.{index}.{part}"]
    # torchvision's file is the backbone alone; the calibrated heads come with the lpips package.
    heads = state if "lin0.weight" in state else _packaged_heads(net)
    return {**result, **{f"lin{tap}.weight": heads[f"lin{tap}.weight"] for tap in range(5)}}


def _i3d(name: str, path: Path) -> dict[str, Tensor]:
    if _kind(path) != "pickle":
        return read_state(path)
    result: dict[str, Tensor] = {}
    for key, array in read_numpy_pickle(path).items():
        tensor = torch.from_numpy(array)
        # flax keeps a kernel as (T, H, W, in, out); torch as (out, in, T, H, W).
        result[key.replace("/", ".")] = tensor.permute(4, 3, 0, 1, 2).contiguous() if tensor.ndim == 5 else tensor
    return result


def _efficientnet_lite(name: str, path: Path) -> dict[str, Tensor]:
    """Under timm's names: both list the same layers in the order of the network."""
    import timm

    with torch.device("meta"):
        wanted = timm.create_model(f"tf_{name.replace('-', '_')}").state_dict()
    found = read_state(path)
    if [tuple(tensor.shape) for tensor in found.values()] != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise TokbenchError(f"{path}: its layers are not those of {name}")
    return dict(zip(wanted, found.values(), strict=True))


CONVOLUTIONS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""Where torchvision's ``features`` have their convolutions."""

_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_A = {
    "conv": "branch1x1",
    "tower.conv": "branch5x5_1",
    "tower.conv_1": "branch5x5_2",
    "tower_1.conv": "branch3x3dbl_1",
    "tower_1.conv_1": "branch3x3dbl_2",
    "tower_1.conv_2": "branch3x3dbl_3",
    "tower_2.conv": "branch_pool",
}
_B = {
    "conv": "branch3x3",
    "tower.conv": "branch3x3dbl_1",
    "tower.conv_1": "branch3x3dbl_2",
    "tower.conv_2": "branch3x3dbl_3",
}
_C = {
    "conv": "branch1x1",
    "tower.conv": "branch7x7_1",
    "tower.conv_1": "branch7x7_2",
    "tower.conv_2": "branch7x7_3",
    "tower_1.conv": "branch7x7dbl_1",
    "tower_1.conv_1": "branch7x7dbl_2",
    "tower_1.conv_2": "branch7x7dbl_3",
    "tower_1.conv_3": "branch7x7dbl_4",
    "tower_1.conv_4": "branch7x7dbl_5",
    "tower_2.conv": "branch_pool",
}
_D = {
    "tower.conv": "branch3x3_1",
    "tower.conv_1": "branch3x3_2",
    "tower_1.conv": "branch7x7x3_1",
    "tower_1.conv_1": "branch7x7x3_2",
    "tower_1.conv_2": "branch7x7x3_3",
    "tower_1.conv_3": "branch7x7x3_4",
}
_E = {
    "conv": "branch1x1",
    "tower_conv": "branch3x3_1",
    "tower_mixed_conv": "branch3x3_2a",
    "tower_mixed_conv_1": "branch3x3_2b",
    "tower_1_conv": "branch3x3dbl_1",
    "tower_1_conv_1": "branch3x3dbl_2",
    "tower_1_mixed_conv": "branch3x3dbl_3a",
    "tower_1_mixed_conv_1": "branch3x3dbl_3b",
    "tower_2_conv": "branch_pool",
}
_BLOCKS = (_A, _A, _A, _B, _C, _C, _C, _C, _D, _E, _E)


def _rename_inception(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The TensorFlow graph's names to torch-fidelity's; the graph has no batch-norm scale, so it is one."""
    names = {f"net.layers.{old}": new for old, new in _STEM.items()}
    for order, (block, letter) in enumerate(zip(_BLOCKS, _MIXED, strict=True)):
        graph = f"mixed_{order}" if order else "mixed"
        names |= {f"net.layers.{graph}.{old}": f"Mixed_{letter}.{new}" for old, new in block.items()}
    result: dict[str, Tensor] = {}
    for old, new in names.items():
        result[f"{new}.conv.weight"] = tensors[f"{old}.weight"]
        result[f"{new}.bn.weight"] = torch.ones_like(tensors[f"{old}.beta"])
        for theirs, ours in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            result[f"{new}.bn.{ours}"] = tensors[f"{old}.{theirs}"]
    return result


def _packaged_heads(net: str) -> dict[str, Tensor]:
    """LPIPS 0.1's linear layers, which the ``lpips`` package ships (found, not imported)."""
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        raise TokbenchError("the heads of LPIPS come with the package lpips, which is not installed")
    state = read_state(Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth")
    return {f"lin{tap}.weight": state[f"lin{tap}.model.1.weight"] for tap in range(5)}


def _kind(path: Path) -> str:
    """``safetensors``, ``torchscript``, ``torch`` (a zip of torch.save, or its old format) or ``pickle``."""
    if path.suffix == ".safetensors":
        return "safetensors"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any("/code/" in name for name in names):
            return "torchscript"
        if any(name.endswith("/data.pkl") for name in names):
            return "torch"
        raise TokbenchError(f"{path}: a zip archive without weights in it")
    # torch's old format opens with a pickled magic number; a flax checkpoint with a dict.
    with open(path, "rb") as file:
        start = file.read(20)
    return "torch" if b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"[:8] in start else "pickle"


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict that torch or safetensors saved. TokbenchError for any other file."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except TokbenchError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        reason = first_line(error)
        raise TokbenchError(f"{path}: cannot be read as torch weights ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TokbenchError(f"{path}: not a state dict of tensors")
    return {key: value.detach() for key, value in state.items()}

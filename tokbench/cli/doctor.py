"""tokbench doctor"""

from __future__ import annotations


def doctor() -> None:
    """What is installed, which devices, which weights and data are at hand, and how to get what is missing."""
    from importlib import metadata

    import torch
    from rich.table import Table

    from tokbench.cli.catalogue import SECTIONS
    from tokbench.data import open_images
    from tokbench.printing import terminal
    from tokbench.results.environment import describe, git_state
    from tokbench.weights.fetch import status

    console = terminal()

    def show(title: str, rows: list[tuple[str, str]]) -> None:
        table = Table(show_header=False, title=title, title_justify="left", title_style="bold")
        for row in rows:
            table.add_row(*row)
        console.print(table)

    names = (
        "tokbench torch torchvision einops vector-quantize-pytorch timm datasets accelerate torch-fidelity "
        "typer pydantic safetensors huggingface_hub scikit-image"
    )
    installed = []
    for name in names.split():
        try:
            installed.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            installed.append((name, f"missing: pip install {name}"))
    show("packages", installed)

    about, git = describe(), git_state()
    devices = [("cpu", f"{about['cpu']}, {about['cores']} cores, {torch.get_num_threads()} threads")]
    devices += [(f"cuda:{i}", name) for i, name in enumerate(about["gpus"])]
    if not about["gpus"]:
        devices.append(("gpu", f"none seen by torch {torch.__version__}: runs go to the CPU, large ones slowly"))
    devices.append(("python", about["python"]))
    if git.revision:
        devices.append(("revision", git.revision[:12] + (" with changes on top" if git.dirty else "")))
    show("machine", devices)

    weights = []
    for entry, path in status():
        missing = f"not here: tokbench weights get {entry.name} ({entry.megabytes} MB)"
        weights.append((entry.name, f"{entry.title}: " + ("here" if path else missing)))
    show("weights", weights)
    train, held_out = open_images("photos", "train", image_size=64), open_images("photos", "eval", image_size=64)
    photographs = f"{len(train)} training crops per epoch, {len(held_out)} held-out crops of other photographs"
    columns, rows = SECTIONS["data"]()
    show("data", [(row[0], photographs if row[0] == "photos" else row[1]) for row in rows])

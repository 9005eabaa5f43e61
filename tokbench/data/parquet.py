"""``parquet:FILES``: tables in files of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokbench.data.base import Split
from tokbench.data.crops import View
from tokbench.data.registry import register
from tokbench.data.specs import other_files, split_files
from tokbench.data.table import TableImages, quiet, split_beside, table_images
from tokbench.data.whole import own_cache
from tokbench.errors import TokbenchError


@register(
    {
        "parquet:FILES": "Parquet files with a column of images; globs, or train=FILES,eval=FILES",
        "parquet:FILES,masks=COLUMN": "the same in pairs, for a generator's condition: also depth= and images=",
    }
)
def open_parquet(source: str, rest: str, split: Split, view: View, limit: int | None) -> TableImages:
    """``FILES`` (paths or globs, comma-separated), or ``train=FILES,eval=FILES``; of pairs with ``,masks=COLUMN`` (or
    ``depth=``, ``images=``) behind.

    Without names, files called after their split (train-000.parquet, val-000.parquet) belong to it; otherwise one row
    in ten is held out.

    Raises:
        TokbenchError: no such file, a file that is not Parquet, no image column, no rows.
    """
    import datasets
    import pyarrow
    import pyarrow.parquet

    rest, beside = split_beside(rest)
    files, divide = split_files(rest, split, source)
    others = other_files(rest, split, source)
    count = 0
    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as table:
                count += table.metadata.num_rows
        except UnicodeEncodeError:
            what = "Parquet's reader opens no name that is not UTF-8: rename it"
            raise TokbenchError(f"{source}: {file}: {what}") from None
        except (pyarrow.ArrowException, OSError) as error:
            raise TokbenchError(f"{source}: {file} is not a readable Parquet file: {_one_line(error)}") from None
    if not count:
        raise TokbenchError(f"{source}: no rows, so no {view.media.many}")
    try:
        with quiet():
            names, cache = [str(file) for file in files], own_cache(files)
            rows = datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=cache)
    except Exception as error:
        raise TokbenchError(f"{source}: cannot be read: {_one_line(error.__cause__ or error)}") from None

    def elsewhere(label: str) -> Iterable[object]:
        try:
            for file in others:
                with pyarrow.parquet.ParquetFile(file) as table:
                    if label in table.schema_arrow.names:
                        yield from table.read(columns=[label])[label].unique().to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise TokbenchError(f"{source}: column {label!r} of {file} cannot be read: {_one_line(error)}") from None

    folders = sorted({file.parent for file in files})
    settings: dict[str, Any] = {"divide": divide, "others": elsewhere, "files": files, "folders": folders}
    settings["beside"] = beside
    return table_images(source, split, view, rows, limit, **settings)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

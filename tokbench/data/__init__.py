"""Images in: built-in photographs, folders, Parquet, the hub, WebDataset shards; all as uint8 squares."""

from tokbench.config.crop import CROPS, PROTOCOLS, Protocol
from tokbench.data.base import Batch, ImageDataset, Sample, Split
from tokbench.data.decode import UnreadableImage, load_image
from tokbench.data.loader import Loader, loader
from tokbench.data.pixels import read_image, to_float, to_grey, to_uint8
from tokbench.data.registry import SOURCES
from tokbench.data.sources import open_images, open_split

__all__ = [
    "CROPS",
    "PROTOCOLS",
    "SOURCES",
    "Batch",
    "ImageDataset",
    "Loader",
    "Protocol",
    "Sample",
    "Split",
    "UnreadableImage",
    "load_image",
    "loader",
    "open_images",
    "open_split",
    "read_image",
    "to_float",
    "to_grey",
    "to_uint8",
]

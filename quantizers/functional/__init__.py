"""The arithmetic of the quantizers as plain functions of tensors."""

from quantizers.functional.bits import bits_to_index, factorize, index_to_bits, join
from quantizers.functional.entropy import lfq_entropy
from quantizers.functional.gradient import rotate_to, straight_through
from quantizers.functional.kmeans import kmeans
from quantizers.functional.nearest import most_aligned_code, nearest_code

__all__ = [
    "bits_to_index",
    "factorize",
    "index_to_bits",
    "join",
    "kmeans",
    "lfq_entropy",
    "most_aligned_code",
    "nearest_code",
    "rotate_to",
    "straight_through",
]

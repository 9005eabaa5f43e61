"""Weights of measuring networks: found in the user's cache, fetched on request, never silently."""

from __future__ import annotations

from tokbench.weights.store import cache_dir, content_hash, digest, find, load, require, tensor_names

__all__ = ["cache_dir", "content_hash", "digest", "find", "load", "require", "tensor_names"]

"""Vector quantizers for visual tokenizers."""

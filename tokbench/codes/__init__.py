"""A tokenizer's codes of images, and their cache on disk, from which generators train without the encoder."""

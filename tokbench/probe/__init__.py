"""Recognition from tokens: a small classifier on codes beside the same one on pixels."""

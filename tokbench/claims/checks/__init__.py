"""One file a claim, named as its recipe set in ``recipes/claims`` (``-`` becomes ``_``): judge, draw, table."""

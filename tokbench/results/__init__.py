"""Records and everything that is shown of them. Knows no torch."""

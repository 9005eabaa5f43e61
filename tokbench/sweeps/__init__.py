"""Grids of runs: cells, and what it takes to finish them."""

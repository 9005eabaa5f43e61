"""``python -m tokbench``, which is also what ``accelerate launch -m tokbench`` runs."""

from tokbench.cli import main

main()

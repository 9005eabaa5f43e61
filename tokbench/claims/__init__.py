"""The papers' claims as data and checks: what to run, what must be seen, and what was seen."""

"""A look at models by hand: what ``tokbench explore`` shows, in functions that know no page, and the page."""

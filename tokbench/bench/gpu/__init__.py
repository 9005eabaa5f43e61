"""All that only a GPU can show, as steps of minutes: ``tokbench bench gpu``."""

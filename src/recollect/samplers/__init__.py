"""Which rows are replayed, and how probably. One sampler, one file; `base.py` says what one is."""

"""Where rows live. One store, one file; `base.py` says what a store is."""

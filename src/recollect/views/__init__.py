"""What an example looks like. One view, one file; `base.py` says what a view is."""

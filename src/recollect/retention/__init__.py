"""Which row makes room for the next. One rule, one file; `base.py` says what a rule is."""

"""What is done to a gathered batch. One transform, one file; `base.py` says what one is."""

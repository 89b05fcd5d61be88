"""Reproductions of published results, one file each."""

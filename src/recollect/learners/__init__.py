"""Learners: they read from top to bottom and train an agent from a memory."""

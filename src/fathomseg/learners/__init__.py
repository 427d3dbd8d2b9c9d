"""Learners: one whole training step each."""

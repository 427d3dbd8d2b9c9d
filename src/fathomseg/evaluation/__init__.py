"""Scoring runs and stored predictions against a dataset."""

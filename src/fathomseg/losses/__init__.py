"""Losses: pure functions that return (sum, count)."""

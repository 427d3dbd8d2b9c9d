"""Semantic segmentation from very few labelled images, by first learning depth from unlabelled video."""

__version__ = "0.1.0"

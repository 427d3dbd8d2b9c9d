"""Datasets (one file each), the generated world, transforms, samplers and the cache."""

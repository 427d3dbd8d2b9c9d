"""Data: datasets, the generated world, cache, transforms, loading."""

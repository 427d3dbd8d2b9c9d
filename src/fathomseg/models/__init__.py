"""Encoders, decoders and networks."""

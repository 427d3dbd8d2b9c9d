"""Decoders: each turns the feature pyramid of an encoder into one feature map."""

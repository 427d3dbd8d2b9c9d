"""Streams whose images are drawn by how well their depths fit those of another stream (`MatchingGeometry`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fathomseg.data.cache import cache_folder
from fathomseg.data.geometry_sampling import Geometries, MatchingGeometry, smaller
from fathomseg.data.loading import Stream
from fathomseg.depth_sources import DisparityMaps
from fathomseg.errors import FathomError
from fathomseg.io import array_store
from fathomseg.training.recipe import Recipe


def match_geometry(recipe: Recipe, streams: Mapping[str, Stream]) -> None:
    """Give those of `streams` that ask for it the order in which their images fit another stream's. Raises
    `FathomError` if that one gives nothing."""
    for name, stream in streams.items():
        if not isinstance(sampling := recipe.streams[name].sampling, MatchingGeometry):
            continue
        if sampling.partner not in streams:
            raise FathomError(
                f"streams.{name}.sampling compares depths with those of stream {sampling.partner!r}, which gives "
                "nothing. Name another stream, or take sampling.name=uniform."
            )
        target, source = (_geometries(streams[one], one) for one in (sampling.partner, name))
        stream.order = sampling.order(target, source, recipe.seed)


def _geometries(stream: Stream, name: str) -> Geometries:
    """The depths of the images of a stream, small and kept in the cache, and the views it shows of them."""
    assert stream.disparity is not None, f"checked: {name} has a source of depth"
    kept = None
    if isinstance(stream.disparity, DisparityMaps):
        kept = array_store.entry(cache_folder(), f"small disparity|{stream.disparity.key}")
    small = None if kept is None else array_store.load(kept)
    if small is None or small.shape[0] != len(stream.ids):
        small = np.stack([smaller(stream.disparity(id)) for id in sorted(stream.ids)])
        if kept is not None:
            array_store.store(kept, small)
    places = {id: place for place, id in enumerate(sorted(stream.ids))}
    assert stream.cache.size is not None
    return Geometries(
        small, places, stream.order.id_at, stream.geometry, stream.seed, stream.cache.size, stream.working
    )

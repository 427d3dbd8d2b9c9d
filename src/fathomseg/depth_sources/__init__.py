"""Where depth comes from: a depth run, files, the dataset itself, or a model of Hugging Face's."""

from typing import Annotated

from pydantic import Field

from fathomseg.depth_sources.huggingface import HuggingFaceDepth
from fathomseg.depth_sources.maps import StoredMaps
from fathomseg.depth_sources.own import OwnDepth
from fathomseg.depth_sources.prepared import DisparityMaps, FreshMaps, prepare
from fathomseg.depth_sources.run import RunDepth

AnyDepthSource = Annotated[RunDepth | StoredMaps | OwnDepth | HuggingFaceDepth, Field(discriminator="name")]
"""Every depth source there is, told apart by `name`. A new one is listed here and nowhere else."""

__all__ = [
    "AnyDepthSource",
    "DisparityMaps",
    "FreshMaps",
    "HuggingFaceDepth",
    "OwnDepth",
    "RunDepth",
    "StoredMaps",
    "prepare",
]

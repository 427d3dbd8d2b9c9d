"""Datasets (one file each), the generated world, transforms, samplers and the cache."""

from typing import Annotated

from pydantic import Field

from fathomseg.data.camvid import CamVid
from fathomseg.data.cityscapes import Cityscapes
from fathomseg.data.folder import Folder
from fathomseg.data.idd_lite import IddLite
from fathomseg.data.kitti import Kitti
from fathomseg.data.kitti2015 import Kitti2015
from fathomseg.data.several import Several
from fathomseg.data.streets import Streets

_One = Streets | CamVid | IddLite | Cityscapes | Kitti | Kitti2015 | Folder
"""Every dataset there is. A new one is listed here and nowhere else."""

OneDataset = Annotated[_One, Field(discriminator="name")]
"""One dataset, told apart by `name`."""

AnyDataset = Annotated[_One | Several, Field(discriminator="name")]
"""One dataset, or several under names of their own."""

Several.model_rebuild()  # it holds `OneDataset`, which did not exist when its class was made

__all__ = [
    "AnyDataset",
    "CamVid",
    "Cityscapes",
    "Folder",
    "IddLite",
    "Kitti",
    "Kitti2015",
    "OneDataset",
    "Several",
    "Streets",
]

"""Datasets (one file each), the generated world, transforms, samplers and the cache."""

from typing import Annotated

from pydantic import Field

from fathomseg.data.camvid import CamVid
from fathomseg.data.cityscapes import Cityscapes
from fathomseg.data.folder import Folder
from fathomseg.data.idd_lite import IddLite
from fathomseg.data.kitti import Kitti
from fathomseg.data.streets import Streets

AnyDataset = Annotated[Streets | CamVid | IddLite | Cityscapes | Kitti | Folder, Field(discriminator="name")]
"""Every dataset there is, told apart by `name`. A new one is listed here and nowhere else."""

__all__ = ["AnyDataset", "CamVid", "Cityscapes", "Folder", "IddLite", "Kitti", "Streets"]

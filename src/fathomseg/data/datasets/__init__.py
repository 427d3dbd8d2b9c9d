"""Datasets (one file each), the generated world, transforms, samplers and the cache."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.cityscapes import Cityscapes
from fathomseg.data.datasets.coco import CocoFolder
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.gta5 import Gta5
from fathomseg.data.datasets.idd_lite import IddLite
from fathomseg.data.datasets.kitti import Kitti
from fathomseg.data.datasets.kitti2015 import Kitti2015
from fathomseg.data.datasets.kitti_semantics import KittiSemantics
from fathomseg.data.datasets.layout import as_found
from fathomseg.data.datasets.mapillary import Mapillary
from fathomseg.data.datasets.nyuv2 import NyuV2
from fathomseg.data.datasets.several import Several
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.datasets.synthia import Synthia
from fathomseg.data.datasets.vkitti2 import VKitti2
from fathomseg.data.datasets.yolo import YoloFolder

_Real = (
    CamVid
    | IddLite
    | Cityscapes
    | Mapillary
    | Kitti
    | Kitti2015
    | KittiSemantics
    | NyuV2
    | Folder
    | CocoFolder
    | YoloFolder
)
_Rendered = Streets | VKitti2 | Gta5 | Synthia
_One = _Rendered | _Real
"""Every dataset there is. A new one is listed here and nowhere else."""

OneDataset = Annotated[_One, Field(discriminator="name"), BeforeValidator(as_found)]
"""One dataset, told apart by `name`."""

AnyDataset = Annotated[_One | Several, Field(discriminator="name"), BeforeValidator(as_found)]
"""One dataset, or several under names of their own."""

Several.model_rebuild()  # it holds `OneDataset`, which did not exist when its class was made

"""KITTI scene flow / stereo 2015 (Menze and Geiger, CVPR 2015): 200 street scenes with measured disparity.

The labels of the KITTI semantic benchmark (Alhaija et al., IJCV 2018) are of the same 200 images.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.data.datasets.files import Listing
from fathomseg.data.datasets.kitti_scenes import KittiScenes
from fathomseg.types import ClassList


class Kitti2015(KittiScenes):
    """KITTI scene flow / stereo 2015, for measuring depth. Ids are `training/000000_10`.

    Splits are `val`, the frames _10 of training/, whose disparity was measured; `testing`, those of testing/, without
    any truth; and `all`, with the frames before and after them. Images may be stored at another size than the maps.
    Labels are those of the semantic benchmark, if they are there; the classes are those of Cityscapes.
    """

    name: Literal["kitti2015"] = "kitti2015"

    _title: ClassVar[str] = "KITTI 2015"
    _archive: ClassVar[str] = "data_scene_flow.zip"

    @property
    def classes(self) -> ClassList:
        """The 19 classes of Cityscapes."""
        return CLASSES

    def notes(self) -> tuple[str, ...]:
        """How many frames have depth and labels, and where the cameras come from if not from the measurements."""
        val = self._listing.splits.get("val", ())
        counts = f"Of {len(val)} frames of val, {sum(id in self._disparities for id in val)} have depth "
        counts += f"(disp_{self.disparity}_0) and {sum(self.has_label(id) for id in val)} a label (semantic)."
        return counts, *self._stereo_notes(val)

    def _list(self) -> Listing:
        frames, measured = self._frames()
        splits = {
            "val": {id: files for id, files in measured.items() if id.startswith("training/")},
            "testing": {id: files for id, files in measured.items() if id.startswith("testing/")},
            "all": frames,
        }
        return Listing.of({name: split for name, split in splits.items() if split})

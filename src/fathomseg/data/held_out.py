"""Which images are held out, to be scored on: the one place that streams, selections and teachers ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, FathomError

VAL: Final = "val"
"""The split that is held out where nothing else is said."""

BLOCKS: Final = "blocks"
"""The split, of the datasets that have it, whose images lie seconds from all that is learned of their clips."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images that nothing may be learned from or chosen of, known by what they show and not by their ids."""

    images: frozenset[str] = frozenset()
    """As `shown` names them."""

    @classmethod
    def of(cls, dataset: Dataset, split: str | None = VAL, asked: str | None = None) -> HeldOut:
        """The images of this split, if there is one, and whole drives that the dataset itself holds out.

        Whoever asks for a held-out split by its name (`asked`) gets it: its images, and the drives if it is `val`.
        """
        ids = set() if asked == VAL else set(dataset.held_out())
        if split is not None and split != asked and split in dataset.splits:
            ids.update(dataset.ids(split))
        return cls(shown(dataset, ids))

    def __or__(self, other: HeldOut) -> HeldOut:
        """The images of both."""
        return HeldOut(self.images | other.images)

    def without(self, dataset: Dataset, ids: Iterable[str]) -> list[str]:
        """The ids that show none of them, in their order."""
        return without(dataset, ids, self.images)


NOTHING: Final = HeldOut()
"""No image is held out."""


def refuse_scored(split: str | None, scored: str | None, setting: str = "split") -> None:
    """Raise `FathomError` if a training asks (`setting`) for the very split that it is scored on."""
    if split is not None and split == scored:
        raise FathomError(
            f"{setting} and evaluation.split are both {split!r}: no training may see what it is scored on. Give "
            "another split to one of them; evaluation.split=null scores nothing."
        )


def shown(dataset: Dataset, ids: Iterable[str]) -> frozenset[str]:
    """Names of the images behind some ids, the same whether a dataset is used alone, among several, set otherwise, or
    through links.

    An image that has no identity, or whose file has gone, is known by its id and the dataset's name.
    """
    return frozenset(_known(dataset, id) for id in ids)


def _known(dataset: Dataset, id: str) -> str:
    try:
        found = dataset.identity(id)
    except DataError:  # whoever reads the image says so
        found = None
    return found or f"{dataset.name} {id}"


def without(dataset: Dataset, ids: Iterable[str], images: frozenset[str]) -> list[str]:
    """The ids that show none of these images."""
    return [id for id in ids if not images & shown(dataset, [id])] if images else list(ids)


def shared_clips(dataset: Dataset, scored: Iterable[str], used: Iterable[str]) -> dict[str, tuple[int, int]]:
    """By clip that has frames among both how many it has: (scored, used otherwise), the most frequent first."""
    left, right = (Counter(clip for id in ids if (clip := dataset.clip(id)) is not None) for ids in (scored, used))
    return {clip: (left[clip], count) for clip, count in right.most_common() if clip in left}


def warning(dataset: Dataset, shared: Mapping[str, tuple[int, int]], scored: str, used: str) -> str | None:
    """What to say of clips that a split to score on shares with images to learn from; None if there are none."""
    if not shared:
        return None
    (clip, (held, other)), *more = shared.items()
    others = f" and {len(more)} more" if more else ""
    remedy = f": {told}" if (told := dataset.clips_remedy()) else ""
    return (
        f"{scored} and {used} share clips: {clip} ({held} and {other} of its frames){others}. Frames of one "
        f"clip look alike, so that scores come out too good{remedy}."
    )

"""What was predicted into a folder: by which network and settings, and from which state of each file.

The folder has a hidden record with a line for every file, added before the file is written: a file that is not in it is
the user's, and one made by another network or of another image is never taken for the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fathomseg.config import flat
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, WEIGHTS, Weights
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.predict_folder import FRAME, POINTS, TOGETHER, Job, unfinished
from fathomseg.inference.predictor import Predictor
from fathomseg.io.files import digest
from fathomseg.io.listing import stamp
from fathomseg.tasks.base import Task
from fathomseg.text import read_text

RECORD: Final = ".fathom-predicted.jsonl"
_WORDS: Final = re.compile(
    r"(?P<run>.*) \((?P<weights>exported|\w+ weights), inference (?P<inference>\{.*\})"
    r"(, smoothed over time by (?P<smooth>[^,]+))?(, images of (?P<bits>\d+) bits)?\)",
    re.DOTALL,
)
_FRAME: Final = re.compile(rf"{FRAME.pattern}\.(png|txt)")


@dataclass(frozen=True, slots=True)
class Maker:
    """A network with its settings."""

    key: str
    """Another one for other weights or settings."""
    words: str
    """For people."""

    @classmethod
    def of(cls, run: Path, weights: Weights, predictor: Predictor, smooth: float = 0.0) -> Maker:
        """That of a run folder or an exported file; `smooth`: of the depth of videos, over time."""
        settings = predictor.inference.model_dump_json() + (f", smoothed over time by {smooth}" if smooth else "")
        settings += f", images of {predictor.card.bits} bits" if predictor.card.bits else ""
        how = f"{run} ({'exported' if is_onnx(run) else f'{weights} weights'}, inference {settings})"
        return cls(f"{digest(model_files(run, weights))}|{settings}|{predictor.size}", how)


def model_files(run: Path, weights: Weights) -> list[Path]:
    """The files that hold a network."""
    return [run] if is_onnx(run) else [run / CARD, run / WEIGHTS[weights]]


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has made a file, and of what."""

    maker: str
    source: str
    """Path, byte size and time of change of the image or video; empty for what describes a whole folder."""


def differing(then: str, now: str) -> list[str]:
    """What two makers differ in, by their words for people: "flip was false, now true"."""
    before, after = _parted(then), _parted(now)
    if before is None or after is None:
        return [f"made by {then}, now {now}"]
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key} was {before.get(key, 'not given')}, now {after.get(key, 'not given')}" for key in keys] or [
        f"{after['run']} has been trained again since, or predicts at another size"
    ]


def _parted(words: str) -> dict[str, str] | None:
    """The words of a maker as settings by name; None for those of another version."""
    if (found := _WORDS.fullmatch(words)) is None:
        return None
    try:
        settings = dict(flat(json.loads(found["inference"])))
    except ValueError:
        return None
    inference = {f"evaluation.inference.{key}": json.dumps(value) for key, value in settings.items()}
    named = {"run": "run", "weights": "weights", "smooth": "--smooth", "bits": "bits of the images"}
    return {**{said: found[key] for key, said in named.items() if found[key] is not None}, **inference}


class Record:
    """The record of one folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._claims: dict[str, Claim] = {}
        self._words: dict[str, str] = {}
        for line in self._lines():
            if "file" in line:
                self._claims[line["file"]] = Claim(line["maker"], line["source"])
            elif "words" in line:
                self._words[line["maker"]] = line["words"]

    def claim(self, path: Path) -> Claim | None:
        """What is known of a file, or of the video whose frame it is; None if nothing."""
        name = path.relative_to(self.out)
        return self._claims.get(name.as_posix()) or self._claims.get(name.parent.as_posix())

    def claims_below(self, folder: Path) -> list[Claim]:
        """What is known of the files in a folder."""
        return [claim for name, claim in self._claims.items() if folder in (self.out / name).parents]

    def words(self, claim: Claim) -> str:
        """Who made a file, for people."""
        return self._words.get(claim.maker, claim.maker)

    def begin(
        self,
        jobs: Sequence[Job],
        tasks: Mapping[str, Task],
        maker: Maker,
        overwrite: bool,
        beside: Sequence[Path] = (),
    ) -> list[Job]:
        """The jobs that are to be done, noted in the record; what was made of other files or by `overwrite` goes.
        What is `beside` the results is written anew each time.

        Raises `FathomError`, before anything is changed, if a file is there that the record does not know, or results
        of another network that would be kept or are not to be overwritten.
        """
        about = [*(self.out / task.places.about for task in tasks.values() if task.places.about), *beside]
        sources = {path: _source(job, path) for job in jobs for path in _outputs(job)}
        if strange := [path for path in (*about, *sources) if any(self.claim(p) is None for p in _files(path))]:
            raise FathomError(
                f"{strange[0]} is there, and the record of {self.out} does not say that `fathom predict` wrote it. It "
                "is left as it is: give another folder (--out)."
            )
        self._refuse_others(frozenset(sources), tasks, maker, overwrite)
        for path, source in sources.items():
            for file in _files(path):
                if self.claim(file) != Claim(maker.key, source):
                    file.unlink()
        todo = list(jobs) if overwrite else unfinished(jobs)
        new = {path: sources[path] for job in todo for path in _outputs(job)}
        self.add(maker, new | dict.fromkeys(about, ""))
        return todo

    def _refuse_others(
        self, covered: frozenset[Path], tasks: Mapping[str, Task], maker: Maker, overwrite: bool
    ) -> None:
        """Raise `FathomError` for results of another network that would stay, or that nobody has said to overwrite."""
        folders = {place for task in tasks.values() for place in (task.places.values, task.places.views)}
        folders |= {TOGETHER, POINTS}
        others = {
            self.out / name: claim
            for name, claim in self._claims.items()
            if claim.maker != maker.key and name.split("/")[0] in folders and any(_files(self.out / name))
        }
        stay = [path for path in others if path not in covered]
        if others and (stay or not overwrite):
            path = stay[0] if stay else next(iter(others))
            left = ", ".join(sorted({f"{p.relative_to(self.out).parts[0]}/" for p in stay}))
            changed = "; ".join(differing(self.words(others[path]), maker.words))
            raise FathomError(
                f"{self.out} holds {len(others)} results of another network or other settings, for example {path}: "
                f"{changed}. Give another folder (--out), or "
                + (f"remove the {len(stay)} that would be left over, in {left}, and give " if stay else "")
                + "--overwrite to replace them."
            )

    def add(self, maker: Maker, sources: Mapping[Path, str]) -> None:
        """Note files that are about to be written, each with what it is made of."""
        lines: list[dict[str, Any]] = [{"maker": maker.key, "words": maker.words}] if sources else []
        for path, source in sources.items():
            self._claims[path.relative_to(self.out).as_posix()] = Claim(maker.key, source)
            lines.append({"file": path.relative_to(self.out).as_posix(), "maker": maker.key, "source": source})
        self._words[maker.key] = maker.words
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / RECORD).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    def _lines(self) -> Iterable[dict[str, Any]]:
        path = self.out / RECORD
        for text in _text(path).splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # cut short by a crash: what it was about is not known to be ours
                continue
            keys = {"file", "maker", "source"} if isinstance(line, dict) and "file" in line else {"maker", "words"}
            if isinstance(line, dict) and keys <= line.keys() and all(isinstance(line[key], str) for key in keys):
                yield line


def _text(path: Path) -> str:
    """What is no text is not ours either."""
    try:
        return read_text(path)
    except FathomError:
        return ""


def record_of(folder: Path) -> Record | None:
    """The record that knows the files in a folder: its own, or that of the folder above it."""
    found = next((place for place in (folder, folder.parent) if (place / RECORD).is_file()), None)
    return None if found is None else Record(found)


def outdated(record: Record, path: Path, image: Path) -> bool:
    """Whether a prediction was made of this very image file in another state than it has now."""
    claim = record.claim(path)
    return claim is not None and claim.source.split("|")[0] == str(image.resolve()) and claim.source != _stamp(image)


def _outputs(job: Job) -> list[Path]:
    paths = [path for goal in job.goals for path in (goal.values, goal.view) if path is not None]
    points = [job.points.path] if job.points else []
    return [*paths, *([job.together] if job.together else []), *points]


def _source(job: Job, path: Path) -> str:
    """What a result was made of: the file; of what shows several tasks these too, and for points the camera and how far
    they may be as well."""
    points = job.points if job.points is not None and job.points.path == path else None
    if points is None and path != job.together:
        return _stamp(job.source)
    made = f"{_stamp(job.source)}|tasks {','.join(goal.task.name for goal in job.goals)}"
    if points is None:
        return made
    far = "" if points.max_depth is None else f"|up to {points.max_depth}"
    return f"{made}|camera {points.image_camera.given}{far}"


def _files(path: Path) -> list[Path]:
    """The file, or the frames of a video, as far as they are there."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if _FRAME.fullmatch(file.name))
    return [path] if path.exists() or path.is_symlink() else []


def _stamp(source: Path) -> str:
    return f"{source.resolve()}|{stamp(source)}"

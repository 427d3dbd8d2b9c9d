"""`fathom select`: which images of a pool should be labelled, before anyone has labelled one.

OUT/selection.json, selection.txt   the chosen ids in order, with scores and reasons; the list is a `labels.file`
OUT/selection.html                  a page to look at
OUT/images/                         the chosen images, named by rank
OUT/annotation/                     ready imports for annotation tools
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import torch

from fathomseg.config import load
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.held_out import VAL, HeldOut
from fathomseg.engine.loop import Loop, accelerator
from fathomseg.errors import FathomError
from fathomseg.io.files import CONFIG, read_ids, write_config
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import Tell, preparing, say
from fathomseg.parallel import open_team
from fathomseg.parallel.base import Team
from fathomseg.selection.base import Answer, check_budget
from fathomseg.selection.pool import Pool, readable
from fathomseg.selection.result import JSON, TEXT, Selection, Skipped, load_selection, pool_hash
from fathomseg.stages.select_outputs import write_all
from fathomseg.stages.select_recipe import SelectRecipe
from fathomseg.training.advice import resume_advice
from fathomseg.training.needed_runs import refuse_missing_runs
from fathomseg.training.run_folder import begin, origin, refuse_changes
from fathomseg.training.start import started

STAGES: Final = "stages"

CHANGEABLE: Final = ("data.root", "budget", "copy_images", "annotation", "prelabels", "report", "device", "threads")
"""Settings that may be given again when a choice is resumed: they do not change what is chosen, but how much of it."""


def chosen(
    recipe: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    resume: Path | None,
    budget: int | None,
    engine: str = "local",
    workers: int = 1,
) -> tuple[Path, Selection]:
    """Choose images by a recipe into the folder `out` (runs/RECIPE), or resume the choice in `resume`. Returns the
    folder and what was chosen."""
    overrides = [*overrides, *([] if budget is None else [f"budget={budget}"])]
    refuse = partial(refuse_changes, changeable=CHANGEABLE, what="choice")
    loaded, folder, what = started(SelectRecipe, recipe, overrides, out, resume, refuse, ("choice", "FOLDER"))
    if resume is None:
        refuse_missing_runs([loaded], recipe, folder)
    with alone_in(folder, f"fathom select {what}"), open_team(engine, workers) as team:
        return folder, select(loaded, folder, resume is not None, team)


def select(recipe: SelectRecipe, folder: Path, resume: bool, team: Team | None = None) -> Selection:
    """One choice, top to bottom: pool, criterion, result, images, page. `team` makes depth maps and features."""
    accelerate = accelerator(Loop(device=recipe.device, threads=recipe.threads))
    if accelerate.num_processes > 1:
        raise FathomError("`fathom select` is not for torchrun; --workers and --engine ray share out its work.")
    then = load_selection(folder) if resume and (folder / JSON).is_file() else None
    ids, already = pool_ids(recipe, then)
    if not resume:
        begin(folder, recipe, {}, accelerate)
    torch.manual_seed(recipe.seed)
    again = _resumed(recipe, folder) if resume else nullcontext()
    with again, resume_advice("select", folder), preparing(active=True) as progress:
        pool, skipped = build_pool(recipe, ids, already, folder, progress, team)
        say(f"Choosing {recipe.budget} of {len(pool.ids) - len(pool.already)} images by {recipe.criterion.name}.")
        answer = recipe.criterion.choose(pool, recipe.budget)
        selection = described(recipe, pool, answer, skipped)
        if resume:
            _same_beginning(folder, selection)
        selection.save(folder)
        write_all(recipe, folder, pool, selection, answer)
    for one in skipped:
        say(f"left out: {one.reason}")
    say(f"{len(selection.chosen)} images chosen; {folder / 'selection.txt'} lists them in order.")
    conclude(f"{len(selection.chosen)} of {len(pool.ids)} images chosen, listed in {folder / TEXT}")
    return selection


@contextmanager
def _resumed(recipe: SelectRecipe, folder: Path) -> Iterator[None]:
    """Write down the settings of a resumed choice, of a larger budget perhaps, so that it can be resumed again if it is
    stopped; those before, if it is refused."""
    before = load(SelectRecipe, folder / CONFIG)
    write_config(recipe, folder / CONFIG)
    try:
        yield
    except FathomError:
        write_config(before, folder / CONFIG)
        raise


def _same_beginning(folder: Path, now: Selection) -> None:
    """Raise `FathomError` if a resumed choice does not begin with the images that were chosen before."""
    if not (folder / JSON).is_file():
        return
    then = load_selection(folder)
    count = min(len(then.ids), len(now.ids))
    if then.ids[:count] != now.ids[:count]:
        pool = "the images of the pool have changed" if then.pool_hash != now.pool_hash else "the pool is the same"
        raise FathomError(
            f"The choice in {folder} would not begin with the {count} images chosen before: {pool}; a run it goes by "
            "may have been trained again, or labels added. It is left as it is: start a new choice (--out), with "
            f"already={folder / TEXT} if these images are labelled."
        )


def build_pool(
    recipe: SelectRecipe,
    ids: Sequence[str],
    already: Sequence[str],
    folder: Path,
    progress: Tell | None,
    team: Team | None = None,
) -> tuple[Pool, list[Skipped]]:
    """The readable images among `ids`, and why the others cannot be read. Raises `FathomError` if none can."""
    cache = Cache(recipe.data, recipe.size)
    good, skipped = readable(cache, ids, progress)
    pool = Pool(
        cache=cache,
        ids=tuple(good),
        already=tuple(sorted(frozenset(good) & frozenset(already))),
        folder=folder / STAGES,
        seed=recipe.seed,
        device=recipe.device,
        threads=recipe.threads,
        progress=progress,
        team=team,
    )
    return pool, skipped


def pool_ids(recipe: SelectRecipe, then: Selection | None = None) -> tuple[Sequence[str], list[str]]:
    """All ids of the pool, and those labelled already; mistakes in the recipe are reported before any image is read.

    Images that are held out are in no pool but that of `split=val`, from which those to be scored on are chosen. What
    the resumed choice (`then`) has chosen itself stays in the pool as it was, whether it has got labels, and is held
    out for these, or not; so do the other frames of its clips (`_as_it_was`). Raises `FathomError` for an empty pool, a
    list of other ids, or a budget above the pool.
    """
    dataset: Dataset = recipe.data
    where = f"split {recipe.split!r} of {dataset.name}"
    if not (everything := dataset.ids(recipe.split)):
        raise FathomError(f"The pool is empty: {where} has no image.")
    kept = HeldOut.of(dataset, asked=recipe.split).without(dataset, everything)
    chosen_here = frozenset(() if then is None else then.ids) & frozenset(dataset.every_id())
    ids = sorted({*kept, *chosen_here})
    if then is not None:
        ids = _as_it_was(dataset, ids, then)
    if not ids:
        raise FathomError(
            f"The pool is empty: all {len(everything)} images of {where} are held out. To choose which of them are "
            "labelled, to be scored on: split=val."
        )
    if len(ids) < len(everything):
        say(f"{len(everything) - len(ids)} of {len(everything)} images of {where} are held out and cannot be chosen.")
    match recipe.already:
        case None:
            already = []
        case "labelled":
            already = [id for id in ids if dataset.has_label(id)]
        case path:
            known = frozenset(ids)
            already = read_ids(path, known)
            if unknown := [id for id in already if id not in known]:
                raise FathomError(
                    f"{path} lists {len(unknown)} ids that {where} does not have, for example {unknown[0]!r}; its own "
                    f"ids look like {min(known)!r}."
                )
    already = [id for id in already if id not in chosen_here]
    check_budget(recipe.budget, len(ids), len(already))
    return ids, already


def _as_it_was(dataset: Dataset, ids: list[str], then: Selection) -> list[str]:
    """The pool with the frames that a folder without a list of val holds out beside those chosen, as these have got
    labels, if that is the pool of the choice; else as it is given."""
    skipped, known = frozenset(one.id for one in then.skipped), frozenset(dataset.every_id())
    clips = {dataset.clip(id) for id in then.ids if id in known} - {None}
    aside = dataset.held_out() - frozenset(dataset.ids(VAL) if VAL in dataset.splits else ())
    before = sorted({*ids, *(id for id in aside if dataset.clip(id) in clips)})
    same = len(before) > len(ids) and pool_hash(dataset, set(before) - skipped) == then.pool_hash
    return before if same else ids


def described(recipe: SelectRecipe, pool: Pool, answer: Answer, skipped: Sequence[Skipped]) -> Selection:
    """The selection with all that it depends on."""
    criterion = recipe.criterion.model_dump(mode="json")
    return Selection(
        dataset=recipe.data.name,
        split=recipe.split,
        pool_size=len(pool.ids),
        pool_hash=pool_hash(pool.dataset, pool.ids),
        criterion=criterion,
        features=criterion.get("features"),
        seed=recipe.seed,
        already=pool.already,
        chosen=answer.choices,
        skipped=tuple(skipped),
        origin=origin(),
    )

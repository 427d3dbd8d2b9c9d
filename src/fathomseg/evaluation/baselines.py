"""A run of several tasks beside baselines, usually one run for each task: the parts of Delta_m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fathomseg.errors import FathomError
from fathomseg.inference.card import load_card
from fathomseg.io.files import read_tree
from fathomseg.metrics.multitask import MainScore, delta_m, relative_change
from fathomseg.tasks.base import Task

MEANING: Final = {
    "delta_m": "mean over the tasks of (M - M_b) / M_b, the sign turned where lower is better: above 0 the run is "
    "better than its baselines (Maninis et al. 2019)",
}

_SAME: Final = ("dataset", "split", "limit")


def parse_baselines(
    given: str | Path | Sequence[str] | Mapping[str, str | Path], tasks: Sequence[str]
) -> dict[str, Path]:
    """{task: run} of such a mapping, of "TASK=RUN" each, or of one run for all of these tasks. Raises `FathomError` for
    anything else."""
    if isinstance(given, Mapping):
        given = [f"{task}={run}" for task, run in given.items()]
    elif isinstance(given, str | Path):
        given = [str(given)]
    if len(given) == 1 and "=" not in given[0]:
        return dict.fromkeys(tasks, Path(given[0]))
    found = {task: Path(run) for task, equals, run in (one.partition("=") for one in given) if equals}
    if len(found) < len(given) or not found.keys() <= set(tasks):
        raise FathomError(
            f"--baseline is {', '.join(given)}; give one run, or TASK=RUN for each of the tasks {', '.join(tasks)}."
        )
    return found


def refuse_without_task(baselines: Mapping[str, Path]) -> None:
    """Raise `FathomError` for a baseline that lacks the task it is named for, before anything is scored."""
    for task, run in baselines.items():
        if task not in (found := load_card(run).tasks):
            raise FathomError(f"Baseline {run} has no task {task!r}; it has {', '.join(found)}.")


def compared(
    result: Mapping[str, Any], tasks: Mapping[str, Task], baselines: Mapping[str, Path], places: Mapping[str, str]
) -> dict[str, Any]:
    """By weights Delta_m and its parts: of each task with a baseline its main score, the baseline's, and the change.

    `result` is what scores.json holds; baselines were scored in the same way, in their folders `evaluation/PLACE`, of
    which `places` names one by task. Where a baseline lacks the weights, its averaged ones count. Raises `FathomError`
    if it was scored otherwise.
    """
    theirs = {task: _scores(run, task, result, places[task]) for task, run in baselines.items()}
    found: dict[str, Any] = {}
    for weights, scores in result["scores"].items():
        parts: dict[str, dict[str, Any]] = {}
        changes: dict[str, float | None] = {}
        for task in (task for task in baselines if task in scores):
            own = tasks[task].main_score(scores[task])
            base = theirs[task].get(weights, theirs[task]["ema"])
            changes[task] = relative_change(own, base)
            parts[task] = {
                "score": own.name,
                "lower_is_better": own.lower_is_better,
                "value": own.value,
                "baseline": base.value,
                "change": changes[task],
                "run": str(baselines[task]),
            }
        found[weights] = {"delta_m": delta_m(changes), "tasks": parts}
    return found


def _scores(run: Path, task: str, result: Mapping[str, Any], place: str) -> dict[str, MainScore]:
    """The main score of a baseline by weights."""
    card, path = load_card(run), run / "evaluation" / place / "scores.json"
    if not path.is_file():
        data = " and the same data (--data), which are not its own" if "-on-" in place else ""
        raise FathomError(
            f"Baseline {run} has no {path.relative_to(run)}: score it first, by `fathom evaluate {run}` with the same "
            f"options{data}."
        )
    known = read_tree(path)
    if not isinstance(known, dict) or not {*_SAME, "scores"} <= known.keys() or not isinstance(known["scores"], dict):
        raise FathomError(f"{path} is not what `fathom evaluate` writes; score the baseline again.")
    if unlike := [f"{key} is {known[key]}, not {result[key]}" for key in _SAME if known[key] != result[key]]:
        raise FathomError(f"Baseline {run} was scored on something else: {', '.join(unlike)}.")
    scored = {weights: tasks[task] for weights, tasks in known["scores"].items() if task in tasks}
    if "ema" not in scored:
        raise FathomError(f"{path} has no scores of {task} of the averaged weights: score it with --weights both.")
    own: dict[str, Any] = next((scores[task] for scores in result["scores"].values() if task in scores), {})
    then, now = (_conditions(one, card.tasks[task]) for one in ({**known, **scored["ema"]}, {**result, **own}))
    if unlike := [f"{key} is {then[key]}, not {now[key]}" for key in then.keys() & now.keys() if then[key] != now[key]]:
        raise FathomError(f"Baseline {run} was scored in another way: {', '.join(sorted(unlike))}.")
    return {weights: card.tasks[task].main_score(one) for weights, one in scored.items()}


def _conditions(scored: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """What has to be the same of two scores of a task, as far as it is known; of stored predictions not how they were
    made."""
    how = scored.get("inference") or {}
    known = {key: scored.get(key) for key in ("images", "pixels")}
    known |= {key: how.get(key) for key in ("flip", *(["mode"] if task.windowed else []))}
    return {key: value for key, value in known.items() if value is not None}

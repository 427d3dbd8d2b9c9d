"""The images a network does best and worst on, predicted once more to be looked at."""

from __future__ import annotations

from fathomseg.data.datasets.base import Dataset
from fathomseg.evaluation.scoring import Scored, Source
from fathomseg.io.images import resize_image
from fathomseg.report.section import Example, Examples
from fathomseg.tasks.base import Task


def examples(source: Source, dataset: Dataset, task: Task, scored: Scored, count: int = 4) -> Examples:
    """The best and the worst images by their own scores of a task; none is in both lists."""
    rows = scored.rows
    values = ((task.badness(row, scored.result), id) for id, row in rows.items())
    ranked = sorted(((value, id) for value, id in values if value is not None), reverse=True)
    worst = ranked[: min(count, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-count:][::-1]

    def example(id: str) -> Example:
        truth = task.truth(dataset, id)
        assert truth is not None, "only images with a truth have scores"
        fields = source.predict(id, source.read(id), {task.name: truth})[task.name]
        prediction = {name: tensor.cpu().numpy() for name, tensor in fields.items()}
        return Example(id, rows[id], resize_image(dataset.image(id), truth.shape[:2]), truth, prediction)

    return Examples([example(id) for _, id in best], [example(id) for _, id in worst])

"""To annotation tools and back: ready imports for CVAT and Label Studio, and their labels as a dataset folder."""

from fathomseg.selection.annotation.exporting import Prelabels, export
from fathomseg.selection.annotation.importing import Imported, import_labels
from fathomseg.selection.annotation.task import Task, load_task

__all__ = ["Imported", "Prelabels", "Task", "export", "import_labels", "load_task"]

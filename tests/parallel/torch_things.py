"""What actors hold that bring PyTorch along, as those of selection and distillation do."""

from __future__ import annotations

import torch


class Threads:
    """Knows how many threads PyTorch has in its process."""

    def count(self) -> int:
        return torch.get_num_threads()

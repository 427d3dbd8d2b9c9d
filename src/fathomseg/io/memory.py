"""How much memory is free, so that what cannot fit is refused in words and not ended by the system."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes that can still be had, within the limits of a container; None where the system does not say."""
    known = [one for one in (_of_machine(_MEMINFO), _of_group(_GROUP)) if one is not None]
    return min(known, default=None)


def _of_machine(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _of_group(folder: Path) -> int | None:
    """What a control group (version 2) leaves, where it has a limit; files it holds in memory count as free."""
    try:
        most, used = ((folder / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - int(used) + int(stat.get("inactive_file", 0)))

"""Slurm's commands as small scripts: a job starts at once, in the background of this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

JOBS = "FAKE_SLURM_JOBS"

COMMANDS = {
    "sbatch": f"""
number=1
until mkdir "${JOBS}/$number" 2>/dev/null; do number=$((number + 1)); done
export SLURM_JOB_ID=$number SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
cp "$1" "${JOBS}/$number/script"
setsid sh -c 'echo $$ > "${JOBS}/$0/pid"; bash "$1"; touch "${JOBS}/$0/over"' $number "$1" >/dev/null 2>&1 </dev/null &
echo "Submitted batch job $number"
""",
    "srun": """
while [ "${1#--}" != "$1" ]; do
    case $1 in --output|--error) shift ;; esac
    shift
done
exec "$@"
""",
    "sacct": f"""
echo "JobID|State|NodeList"
for job in "${JOBS}"/*; do
    state=RUNNING
    [ -e "$job/over" ] && state=COMPLETED
    [ -e "$job/cancelled" ] && state=CANCELLED
    echo "$(basename $job)|$state|here"
done
""",
    "scancel": f"""
touch "${JOBS}/$1/cancelled"
all() {{ for child in $(pgrep -P $1); do all $child; done; echo $1; }}
kill -TERM $(all $(cat "${JOBS}/$1/pid"))
""",
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the commands first in PATH; returns the folder in which each job has one."""
    jobs = folder / "slurm-jobs"
    jobs.mkdir()
    for name, script in COMMANDS.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(JOBS, str(jobs))
    monkeypatch.setenv("SBATCH_TIMELIMIT", "10")
    if importlib.util.find_spec("submitit") is not None:
        from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

        # The numbers of jobs begin at 1 again: submitit must not remember how those of another test ended.
        monkeypatch.setattr(SlurmJob, "watcher", SlurmInfoWatcher())
    return jobs

"""The benchmark of our own share, run as ``benchmarks.bench`` runs it on each build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.environments import Build, UnavailableError
from benchmarks.figures import Rounds

STAGES = ROOT / "benchmarks" / "stages.py"


def test_every_stage_of_a_run_is_timed(cruise: Path) -> None:
    tar = next(cruise.rglob("*.tar"))
    # the embedded model, whose graph has novelty and groups beside the scores
    command = [sys.executable, "-P", str(STAGES), str(tar), "--rounds", "1", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["images"] > 40
    spent = told["core_ms_per_image"]
    asleep = [name for name, used in spent.items() if used <= 0 and name not in ("other", "tables")]
    assert not asleep, f"these functions are called no more, or have moved: {asleep}"


def test_a_commit_that_is_unknown_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"0badcafe0: git knows no such commit"):
        Build.of_commit("0badcafe0", tmp_path)


def test_programs_of_one_quantity_stand_together() -> None:
    rounds = Rounds()
    for value in (1.0, 3.0, 2.0):
        rounds.add("rate", "images/s", value, "this build")
        rounds.add("memory", "MB", 10 * value)
        rounds.add("rate", "images/s", 10 * value, "earlier")
    told = [(figure.what, figure.of, figure.median, figure.least, figure.most)
            for figure in rounds.figures()]  # fmt: skip
    assert told == [
        ("rate", "this build", 2.0, 1.0, 3.0),
        ("rate", "earlier", 20.0, 10.0, 30.0),
        ("memory", "", 20.0, 10.0, 30.0),
    ]

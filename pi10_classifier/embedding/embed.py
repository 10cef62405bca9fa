"""Writes the features of particles: ``pi10 classify`` with one more output of the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.embedding.tensor import features_tensor
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.pipeline import Progress
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.feature_part import FEATURES
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.run_info import read_run

WITHIN = "embedding"  # the folder of a run with the features of its particles


def is_run(path: str) -> bool:
    """Whether a path is a folder of results."""
    return "://" not in path and (Path(path) / PREDICTIONS).is_dir()


def resolve(inputs: Sequence[str], out: Path | None) -> tuple[list[str], Path]:
    """The inputs to read and the folder to write to.

    A run among ``inputs`` stands for what it was made of; without ``out``, its features are
    written into its folder ``embedding``. Raises SettingError.
    """
    runs = [path for path in inputs if is_run(path)]
    if out is None:
        if len(inputs) != 1 or not runs:
            raise SettingError("--out is missing; only for one folder of results it may be")
        out = Path(runs[0]) / WITHIN
    sources: list[str] = []
    for path in inputs:
        if path in runs:
            sources.extend(_sources(Path(path), out))
        else:
            sources.append(path)
    return sources, out


def device_of(inputs: Sequence[str]) -> str | None:
    """The device of the only run among ``inputs``, so that its tables come out the same again."""
    runs = [path for path in inputs if is_run(path)]
    told = read_run(Path(runs[0])).get("runtime", {}) if len(runs) == 1 else {}
    device = told.get("device") if isinstance(told, dict) else None
    return device if isinstance(device, str) else None


def _sources(run: Path, out: Path) -> list[str]:
    if out.resolve() == run.resolve():
        raise SettingError(
            f"--out is {out}, the run itself; leave --out out to write into {run / WITHIN}"
        )
    sources = read_run(run).get("parameters", {}).get("inputs")
    if not isinstance(sources, list) or not sources:
        raise SettingError(f"{run / 'run.json'} names no inputs; give the images themselves")
    gone = [path for path in sources if "://" not in path and not Path(path).exists()]
    if gone:
        raise SettingError(
            f"{gone[0]} is gone, which {run} was made of; give where the images lie now, and --out"
        )
    return [str(path) for path in sources]


def embed(
    inputs: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> RunResult:
    """Classify all images of ``inputs`` into ``out``, with the features of each particle.

    ``out`` becomes a run with one more table, ``features.parquet``: the tensor that the network's
    last layer takes, float16 (D,), for each row of the predictions. Raises as ``classify``.
    """
    wanted = replace(settings, features=features_tensor(settings.model))
    return classify(
        inputs, out, wanted, resume=resume, overwrite=overwrite, progress=progress, environ=environ
    )


def embedded_run(run: Path) -> Path:
    """The folder with the features of a run: itself, or its folder ``embedding``.

    Raises SettingError where there are none.
    """
    for folder in (run, run / WITHIN):
        if (folder / FEATURES).is_dir() and (folder / "run.json").is_file():
            return folder
    raise SettingError(f"{run} has no features (or not all yet); run: pi10 embed {run}")

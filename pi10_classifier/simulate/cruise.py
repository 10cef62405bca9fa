"""Writes whole cruises: consecutive bins in one folder, and a table of what each image shows."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.instrument.names import BIN_MINUTES
from pi10_classifier.simulate.bins import TRUTH_COLUMNS, UNFINISHED, BinPlan, Progress, write_bin
from pi10_classifier.simulate.scene import PROPORTIONS, Crops, Source, Studio

CRUISE = "SIMULATED"
START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
TRUTH = "truth.csv"
NO_FIX_SHARE = 0.15  # bins without a GPS fix


def plan_cruise(
    *,
    bins: int = 3,
    images: int = 500,
    sizes: Sequence[int] | None = None,
    partial: int = 0,
    seed: int = 0,
    instrument: str = "pia7",
    start: datetime = START,
    no_fix: float = NO_FIX_SHARE,
) -> list[BinPlan]:
    """Plan consecutive bins; the last ``partial`` of them begin late.

    sizes: the number of images of each bin; overrides ``bins`` and ``images``. no_fix: the share
    of bins without a GPS fix, 0..1. Raises SettingError for values out of range.
    """
    if sizes is None and not 1 <= bins <= 100_000:
        raise SettingError(f"{bins} bins; give 1 to 100,000")
    counts = list(sizes) if sizes is not None else [images] * bins
    if not 1 <= len(counts) <= 100_000:
        raise SettingError(f"{len(counts)} bins; give 1 to 100,000")
    if not 0 <= partial <= len(counts):
        raise SettingError(f"{partial} partial bins of {len(counts)}; give 0 to {len(counts)}")
    if not 0 <= no_fix <= 1:
        raise SettingError(f"no_fix is {no_fix}; it is a share of bins, 0 to 1")
    if seed < 0:
        raise SettingError(f"seed is {seed}; give a whole number from 0")
    if start.tzinfo is None or start.astimezone(UTC).minute % BIN_MINUTES:
        raise SettingError(f"start {start} must lie on a ten-minute mark and name its time zone")
    plans = []
    for number, count in enumerate(counts):
        begin = start.astimezone(UTC) + timedelta(minutes=BIN_MINUTES * number)
        rng = np.random.default_rng((seed, 6, number))
        fix = bool(rng.random() >= no_fix)
        delay = int(rng.integers(2, 8)) if number >= len(counts) - partial else 0
        begin += timedelta(minutes=delay)
        plans.append(BinPlan(instrument, begin, count, BIN_MINUTES - delay, fix))
    return plans


def simulate_cruise(
    out: Path,
    *,
    bins: int = 3,
    images: int = 500,
    sizes: Sequence[int] | None = None,
    partial: int = 0,
    seed: int = 0,
    cruise: str = CRUISE,
    instrument: str = "pia7",
    start: datetime = START,
    no_fix: float = NO_FIX_SHARE,
    proportions: Mapping[str, float] | None = None,
    crops: Path | None = None,
    folders: bool = False,
    slash: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write ``out/cruise/2024-06-24/1450.tar`` and so on; returns the bins' paths.

    ``truth.csv``, next to the folders of the days, has a row of ``TRUTH_COLUMNS`` for each image.

    proportions: share of each label among drawn particles. crops: a folder or tar of
    ``group/label/name.ext``, whose images replace the drawn particles; they are used again from
    the first when they run out. progress: is called with the number of images written so far, over
    all bins. The same arguments give the same bytes.

    Raises SettingError for unusable values, and where the cruise folder already exists and is not
    an earlier simulation of the same bins; OutputError where writing fails.
    """
    plans = plan_cruise(
        bins=bins, images=images, sizes=sizes, partial=partial, seed=seed,
        instrument=instrument, start=start, no_fix=no_fix,
    )  # fmt: skip
    if crops is not None and proportions is not None:
        raise SettingError("proportions are for drawn particles; leave them out with crops")
    if not re.fullmatch(r"\w[\w .-]{0,99}", cruise):
        raise SettingError(f"cruise {cruise!r} must be a plain folder name")
    home = out / cruise
    _check_home(home, {plan.folder if folders else plan.folder + ".tar" for plan in plans})
    paths = []
    done = 0
    unfinished = home / (TRUTH + UNFINISHED)
    with ExitStack() as stack:
        source: Source
        if crops is None:
            source = Studio(seed, PROPORTIONS if proportions is None else proportions)
        else:
            source = stack.enter_context(Crops(crops, seed))
        try:
            home.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(unfinished.open("w", encoding="utf-8", newline=""))
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TRUTH_COLUMNS)
            (home / TRUTH).unlink(missing_ok=True)  # would be wrong as soon as a bin is rewritten
            for plan in plans:
                report = (lambda n, before=done: progress(before + n)) if progress else None
                paths.append(
                    write_bin(
                        plan, home, seed=seed, source=source, folders=folders, slash=slash,
                        truth=writer.writerow, progress=report,
                    )
                )  # fmt: skip
                done += plan.images
            file.close()
            unfinished.replace(home / TRUTH)
        except OSError as error:
            raise output_error(error, home) from error
    return paths


def _check_home(home: Path, planned: set[str]) -> None:
    """Raise SettingError where ``home`` has other files than an earlier simulation's."""
    if not home.is_dir():
        if home.exists():
            raise SettingError(f"{home} is a file; name another output folder")
        return
    present = {item.relative_to(home).as_posix() for item in home.glob("*/*")}
    finished = {name for name in present if not name.endswith(UNFINISHED)}
    simulated = (home / TRUTH).exists() or (home / (TRUTH + UNFINISHED)).exists()
    if (any(home.iterdir()) and not simulated) or finished - planned:
        raise SettingError(f"{home} holds other files; remove it or name another output folder")

"""A drawn sample: its particles, its design and its strata, as they lie in ``validation/``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import sha256, write_csv, write_json
from pi10_classifier.instrument.names import Bin

FOLDER = "validation"


SAMPLE, DESIGN = "sample.csv", "design.json"


ALL = "all"  # the one stratum of --by cruise
SCORE = "score_"  # before the class, in the names of columns


@dataclass(frozen=True, slots=True)
class Drawn:
    """A particle of the sample: a line of ``sample.csv``.

    order: of labelling, from 0; every beginning of the sample is a sample too. part, row: where
    its line stands in ``predictions.parquet``. certain: drawn for certain, as its factor is so
    large. probability: of having been drawn, by the design. scores: the model's, of each class, in
    columns ``score_<class>``; empty where the sample was drawn before they were in it.
    """

    order: int
    particle_id: str
    stratum: str
    predicted: str
    source: str
    member: str
    bin: str
    datetime: str
    raising_factor: float
    certain: bool
    probability: float
    part: str
    row: int
    scores: dict[str, float] = field(default_factory=dict, hash=False)


@dataclass(slots=True)
class Totals:
    """Of one stratum and predicted class: particles, and sums over their raising factors."""

    particles: int = 0
    raised: float = 0.0
    variance: float = 0.0
    largest: float = 0.0
    wanted: int = 0


@dataclass(slots=True)
class Moments:
    """Sums over particles: raising factor x log-odds of a score, and factor x its square."""

    first: float
    second: float


@dataclass(slots=True)
class Design:
    """How a sample was drawn. strata: stratum -> predicted class -> totals.

    left_out: particles without a raising factor, which stand for an unknown amount of water.
    scores: stratum -> predicted class -> class of the model -> sums over the scores of that class;
    without predicted classes whose particles have none. sample_sha256: of ``sample.csv``; "" in
    designs of earlier versions.
    """

    seed: int
    size: int
    by: str
    model_sha256: str
    strata: dict[str, dict[str, Totals]] = field(default_factory=dict)
    left_out: int = 0
    scores: dict[str, dict[str, dict[str, Moments]]] = field(default_factory=dict)
    sample_sha256: str = ""

    def write(self, path: Path) -> None:
        write_json(path, {"format": 1, **asdict(self)}, option="")

    @classmethod
    def read(cls, path: Path) -> Design:
        """Raises SettingError where there is none that can be read."""
        try:
            stored = json.loads(path.read_text("utf-8"))
            strata = {
                stratum: {label: Totals(**totals) for label, totals in classes.items()}
                for stratum, classes in stored["strata"].items()
            }
            scores = {
                stratum: {
                    label: {name: Moments(**moments) for name, moments in its.items()}
                    for label, its in classes.items()
                }
                for stratum, classes in stored.get("scores", {}).items()
            }
            return cls(stored["seed"], stored["size"], stored["by"], stored["model_sha256"],
                       strata, stored["left_out"], scores,
                       str(stored.get("sample_sha256", "")))  # fmt: skip
        except FileNotFoundError:
            raise SettingError(
                f"{path.parent.parent} has no sample; draw one: pi10 validate draw RESULTS"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SettingError(
                f"{path} cannot be read ({error}); draw the sample again: pi10 validate draw"
            ) from error


def make_folder(run: Path, name: str = "") -> Path:
    """``run/validation``, or the folder ``name`` in it, made where it is not there.

    Raises OutputError. No option names what lies in a run, so its messages name none.
    """
    home = run / FOLDER
    try:
        home.mkdir(exist_ok=True)
        (home / name).mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(error, home / name, "") from error
    return home / name


def write_sample(run: Path, sample: Sequence[Drawn]) -> None:
    """Write the sample into ``run/validation``."""
    names = [column.name for column in fields(Drawn) if column.name != "scores"]
    scores = list(sample[0].scores) if sample else []
    write_csv(
        run / FOLDER / SAMPLE,
        [*names, *(f"{SCORE}{label}" for label in scores)],
        (
            [*(getattr(its, name) for name in names), *(its.scores.get(x, "") for x in scores)]
            for its in sample
        ),
        option="",
    )


def refuse_edited(run: Path, design: Design) -> None:
    """Raises SettingError where ``sample.csv`` is not what was drawn."""
    path = run / FOLDER / SAMPLE
    if design.sample_sha256 and sha256(path) != design.sample_sha256:
        raise SettingError(
            f"{path} was changed since it was drawn, and its factors and order make the estimate; "
            f"draw it again as before: pi10 validate draw {run}. Labels are kept"
        )


def read_sample(run: Path) -> list[Drawn]:
    """The sample in ``run/validation``. Raises SettingError."""
    path = run / FOLDER / SAMPLE
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [
                Drawn(
                    order=int(row["order"]), raising_factor=float(row["raising_factor"]),
                    certain=row["certain"] == "True", probability=float(row["probability"]),
                    row=int(row["row"]),
                    scores={
                        name.removeprefix(SCORE): float(value)
                        for name, value in row.items() if str(name).startswith(SCORE) and value
                    },
                    **{name: row[name] for name in (
                        "particle_id", "stratum", "predicted", "source", "member", "bin",
                        "datetime", "part",
                    )},
                )
                for row in csv.DictReader(stream)
            ]  # fmt: skip
    except FileNotFoundError:
        raise SettingError(f"{run} has no sample; draw one: pi10 validate draw {run}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); draw it again: pi10 validate draw {run}"
        ) from error


def strata_of(by: str) -> Callable[[str], str | None]:
    """Bin -> stratum; None leaves the bin out."""
    if by == "cruise":
        return lambda _: ALL
    if by == "bin":
        return lambda name: name or None
    if by == "day":
        return lambda name: f"{found.start:%Y-%m-%d}" if (found := Bin.parse(name)) else None
    path = Path(by)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            cells = [(row["bin"], row["stratum"]) for row in csv.DictReader(stream)]
            # an empty stratum leaves its bin out, like a bin that is not named
            table = {name.strip(): stratum.strip() for name, stratum in cells if stratum.strip()}
    except FileNotFoundError:
        raise SettingError(
            f"--by is {by!r}; give cruise, day, bin, or a CSV file of bin,stratum"
        ) from None
    except (OSError, KeyError, ValueError, AttributeError, csv.Error) as error:
        raise SettingError(f"{by} is no CSV with the columns bin,stratum: {error}") from error
    return table.get

"""A resumable search over the settings of a training with Optuna: a grid, or TPE.

To the search, a training is only a function of its settings that returns the macro-F1 on
*validation* images. It never sees the test split, so nothing is selected on it. Trials are stored
in ``search.db``. This is SQLite, which survives a power cut; Optuna's journal file cannot be read
if its last line is incomplete.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pi10_classifier.errors import OutputError, Pi10Error, SettingError, output_error
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.search.spaces import Range, Space, Value, as_json, count_trials
from pi10_classifier.training.output_folder import BEST_TRIAL, TRIALS_TABLE
from pi10_classifier.training.reporter import NullReporter, Reporter, reported

if TYPE_CHECKING:
    import optuna

STORAGE, SETTINGS, LOCK = "search.db", "search.json", ".search.lock"
STUDY = "search"
_REFUSED, _REPEATS = "refused", "repeats"


class TrainOne(Protocol):
    """Train once with these settings; returns the validation macro-F1, 0 to 1.

    Raises a Pi10Error if the settings cannot be trained (the search records it and goes on), and an
    OutputError if the disk fails (the search stops and can be resumed).
    """

    def __call__(self, params: Mapping[str, Value], /) -> float: ...


_CUT = "cut short; --resume tries it again"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search. ``error`` says why it has no macro-F1."""

    number: int
    params: dict[str, Value]
    macro_f1: float | None
    error: str = ""


def search(
    train_one: TrainOne,
    space: Space,
    *,
    folder: Path,
    sampler: str = "grid",
    trials: int | None = None,
    seed: int = 0,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    done: Callable[[Trial], None] = lambda _: None,
    reporter: Reporter | None = None,
) -> list[Trial]:
    """Train with settings from ``space`` until the grid or ``trials`` is exhausted.

    folder: of the search; with ``resume`` a killed search continues there. A trial that was running
    is then trained again. A trial that failed is retried once per resume, because Optuna counts a
    failed point of a grid as visited although it has no value. trials: the total number; a grid
    needs none. about: other settings that must be the same to resume (data, network). reporter:
    receives the search as a run. Writes trials.csv, which says why a point has no value, and
    best.json (by validation macro-F1; of equals, the earlier). Returns the finished trials by
    number, the last one of each point. Raises SettingError for an unusable space or folder.
    """
    trials = count_trials(space, sampler, trials)
    settings = {
        "sampler": sampler, "seed": seed, **(about or {}),
        "space": {k: as_json(v) for k, v in space.items()},
    }  # fmt: skip
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise SettingError(
            f"another search is using {folder}; wait for it, or name another folder"
        ) from error
    except OSError as error:
        raise output_error(error, folder) from error
    active = reporter or NullReporter()
    with held, _opened(folder, settings, resume) as study, reported(active, folder, settings):
        _requeue(study)
        _choose_sampler(study, space, sampler, seed)
        try:
            while _retries(study) or (
                len(finished(study)) < trials and not _through(study, sampler)
            ):
                study.optimize(_objective(train_one, space), n_trials=1, catch=(_RefusedError,))
                _publish(folder, table(study))
                done(_last(study))
        finally:
            _publish(folder, table(study))
        return finished(study)


def _claim(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    path = folder / SETTINGS
    if not path.is_file():
        write_atomically(path, (json.dumps(settings, indent=1) + "\n").encode())
        return
    if not resume:
        raise SettingError(
            f"{folder} holds a search; add --resume to continue, or name another folder"
        )
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read ({error}); name another folder") from error
    settings = json.loads(json.dumps(settings))
    changed = [key for key in settings if known.get(key) != settings[key]]
    if changed:
        differences = "; ".join(f"{k} was {known.get(k)}, is {settings[k]}" for k in changed)
        raise SettingError(
            f"cannot resume {folder}: {differences}; use the old settings, or another folder"
        )


@contextmanager
def _opened(folder: Path, settings: dict[str, Any], resume: bool) -> Iterator[optuna.Study]:
    _claim(folder, settings, resume)
    try:
        import optuna
    except ImportError as error:
        raise SettingError(f"search needs optuna ({error}); {install_command('train')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = (folder / STORAGE).absolute().as_posix()
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        yield optuna.create_study(
            storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _choose_sampler(study: optuna.Study, space: Space, sampler: str, seed: int) -> None:
    import optuna

    if sampler == "grid":
        values = {name: list(v) for name, v in space.items() if not isinstance(v, Range)}
        study.sampler = optuna.samplers.GridSampler(values, seed=seed)
    else:
        # a resumed search with its first seed would draw its first settings again
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))


def _requeue(study: optuna.Study) -> None:
    """Queue all trials without a value again: interrupted or failed ones."""
    from optuna.trial import TrialState, create_trial

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        # this process holds the folder's lock, so the process that ran the trial is gone
        study.tell(trial.number, state=TrialState.FAIL)
    repeated = _repeated(study)
    for trial in study.get_trials(states=[TrialState.FAIL]):
        if trial.number in repeated:
            continue
        fixed = {"fixed_params": trial.params} if trial.params else {}
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                system_attrs={**trial.system_attrs, **fixed},
                user_attrs={_REPEATS: trial.number},
            )
        )


def _repeated(study: optuna.Study) -> set[int]:
    """The numbers of trials that were repeated by another."""
    return {trial.user_attrs[_REPEATS] for trial in study.trials if _REPEATS in trial.user_attrs}


def _retries(study: optuna.Study) -> bool:
    """True if a failed trial waits to be repeated."""
    from optuna.trial import TrialState

    waiting = study.get_trials(states=[TrialState.WAITING])
    numbers = {trial.user_attrs.get(_REPEATS) for trial in waiting}
    return any(trial.number in numbers and _REFUSED in trial.user_attrs for trial in study.trials)


def _through(study: optuna.Study, sampler: str) -> bool:
    from optuna.samplers import GridSampler
    from optuna.trial import TrialState

    if study.get_trials(states=[TrialState.WAITING]) or sampler != "grid":
        return False
    return isinstance(study.sampler, GridSampler) and study.sampler.is_exhausted(study)


class _RefusedError(Exception):
    """These settings cannot be trained; the search goes on."""


def _objective(train_one: TrainOne, space: Space) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        params: dict[str, Value] = {}
        for name, values in space.items():
            if not isinstance(values, Range):
                params[name] = cast(Value, trial.suggest_categorical(name, list(values)))
            elif values.whole:
                low, high = int(values.low), int(values.high)
                params[name] = trial.suggest_int(name, low, high, log=values.log)
            else:
                params[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        try:
            value = float(train_one(params))
            if not 0 <= value <= 1:
                raise SettingError(f"validation macro-F1 is {value}; it must be 0 to 1")
        except OutputError:
            raise
        except Pi10Error as error:
            trial.set_user_attr(_REFUSED, error.message)
            raise _RefusedError(error.message) from error
        return value

    return objective


def finished(study: optuna.Study) -> list[Trial]:
    """Trials with a result or an error, without interrupted ones.

    Failed trials that were repeated are left out too, so each point occurs once.
    """
    return [trial for trial in table(study) if trial.error != _CUT]


def table(study: optuna.Study) -> list[Trial]:
    """All tried points by number, each with its last finished trial."""
    ended = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "FAIL")]
    outdone = {trial.user_attrs.get(_REPEATS) for trial in ended}
    return [
        Trial(t.number, dict(t.params), t.value,
              "" if t.state.name == "COMPLETE" else t.user_attrs.get(_REFUSED, _CUT))
        for t in ended
        if t.number not in outdone
    ]  # fmt: skip


def _last(study: optuna.Study) -> Trial:
    """The trial that ended last; a repetition may have a lower number than others."""
    ended = [trial for trial in study.trials if trial.datetime_complete is not None]
    number = max(ended, key=lambda trial: (trial.datetime_complete, trial.number)).number
    return next(trial for trial in table(study) if trial.number == number)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest validation macro-F1, the earlier of equals; None without any."""
    scored = [trial for trial in trials if trial.macro_f1 is not None]
    return max(scored, key=lambda t: (t.macro_f1 or 0.0, -t.number), default=None)


def _publish(folder: Path, trials: Sequence[Trial]) -> None:
    names = sorted(set(itertools.chain.from_iterable(trial.params for trial in trials)))
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["trial", *names, "validation_macro_f1", "error"])
    for trial in trials:
        value = "" if trial.macro_f1 is None else trial.macro_f1
        settings = (trial.params.get(name, "") for name in names)  # one cut early has not all
        rows.writerow([trial.number, *settings, value, trial.error])
    write_atomically(folder / TRIALS_TABLE, stream.getvalue().encode("utf-8"))
    best = best_of(trials)
    if best is not None:
        answer = {"trial": best.number, "params": best.params, "validation_macro_f1": best.macro_f1}
        write_atomically(folder / BEST_TRIAL, (json.dumps(answer, indent=1) + "\n").encode("utf-8"))

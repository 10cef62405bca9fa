"""The service's settings from environment variables: limits, folders, threads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.decode import CAPS, Caps
from pi10_classifier.inference.settings import BOUNDS, default_jobs
from pi10_classifier.model.package import STARTER
from pi10_classifier.model.runtime import runtime_of
from pi10_classifier.sources.base import LIMITS, Limits

_EFFECTIVE = os.access in os.supports_effective_ids  # not on Windows


def _number(default: int, low: float, high: float, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "what": meaning})


@dataclass(frozen=True, slots=True)
class Service:
    """The service's settings. Each comes from the variable ``PI10_`` and its name in capitals."""

    max_upload_mb: int = _number(1024, 1, 1_000_000, "Largest request, in MB of 2^20 bytes.")
    max_images: int = _number(50_000, 1, LIMITS.members, "Most members of an archive.")
    max_megapixels: int = _number(CAPS.pixels // 10**6, 1, 4000, "Largest image.")
    max_waiting: int = _number(128, 1, 10_000, "Predictions running or waiting; more get 503.")
    max_seconds: int = _number(900, 1, 86_400, "Longest prediction; then its worker is replaced.")
    max_header_seconds: int = _number(
        30, 1, 3600, "Longest wait for a request's headers; then the connection is closed."
    )
    max_trainings: int = _number(1, 1, 64, "Trainings at a time; more get 503.")
    jobs: int = _number(default_jobs(), *BOUNDS["jobs"], "Threads that classify, over all workers.")
    model_poll_s: int = _number(
        60, 0, 86_400, "Seconds between questions to the registry for another model; 0 for none."
    )
    model: str = field(
        default=STARTER,
        metadata={
            "what": "The model of requests that name none: an embedded package, a folder, or"
            " models:/NAME@ALIAS of the registry at MLFLOW_TRACKING_URI."
        },
    )
    device: str = field(
        default="cpu", metadata={"what": "Runtime of the models, as for `pi10 classify --device`."}
    )
    models_dir: Path | None = field(
        default=None, metadata={"what": "A folder of model packages, besides the embedded ones."}
    )
    data_dir: Path | None = field(
        default=None, metadata={"what": "A folder of labelled data sets that trainings may name."}
    )
    train_dir: Path | None = field(
        default=None,
        metadata={"what": "Where trainings are written. Default: a temporary folder."},
    )

    def __post_init__(self) -> None:
        runtime_of(self.device)  # known? each model chooses what auto stands for
        for entry in fields(self):
            value, bounds = getattr(self, entry.name), entry.metadata
            if "low" in bounds and not bounds["low"] <= value <= bounds["high"]:
                raise SettingError(
                    f"{variable(entry.name)} is {value}; it must be {bounds['low']} to "
                    f"{bounds['high']}"
                )
        for name in ("models_dir", "data_dir", "train_dir"):
            folder = getattr(self, name)
            if folder is not None and not folder.is_dir():
                raise SettingError(
                    f"{variable(name)} is {str(folder)!r}, which is not a folder; create it or "
                    "correct the path"
                )
            writes = name == "train_dir"
            rights = os.R_OK | os.X_OK | (os.W_OK if writes else 0)
            if folder is not None and not os.access(folder, rights, effective_ids=_EFFECTIVE):
                raise SettingError(
                    f"{variable(name)} is {str(folder)!r}, which this user may not "
                    f"{'write to' if writes else 'read'}; grant the right, or name another folder"
                )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Service:
        """Read all settings. Raises SettingError with the variable, its value and the remedy."""
        given: dict[str, Any] = {}
        for entry in fields(cls):
            text = environ.get(variable(entry.name), "").strip()
            if not text:
                continue
            if entry.name in ("device", "model"):
                given[entry.name] = text
            elif "low" not in entry.metadata:
                given[entry.name] = Path(text).absolute()
            elif text.isascii() and text.isdigit() and len(text) < 10:
                given[entry.name] = int(text)
            else:
                raise SettingError(f"{variable(entry.name)} is {text!r}; give a whole number")
        return cls(**given)

    @classmethod
    def or_exit(cls) -> Service:
        """``from_environ`` for the start of a program: an unusable setting ends it.

        It raises SystemExit, because after any other exception DEEPaaS would go on with its own
        test model.
        """
        try:
            return cls.from_environ()
        except SettingError as error:
            sys.exit(f"pi10: {error.message}")

    @property
    def upload_bytes(self) -> int:
        return self.max_upload_mb * 2**20

    @property
    def caps(self) -> Caps:
        """The limits of the image decoder."""
        pixels = self.max_megapixels * 10**6
        return Caps(pixels=pixels, side=max(CAPS.side, pixels // CAPS.side))

    @property
    def limits(self) -> Limits:
        """The limits for archives."""
        return Limits(members=self.max_images)

    @property
    def trainings(self) -> Path:
        """The folder of trainings; it is created when it is first needed."""
        return self.train_dir or Path(tempfile.gettempdir()) / f"pi10-trainings-{_user()}"

    @property
    def trusts_trainings(self) -> bool:
        """Whether the folder of trainings is ours; in a shared folder, others may have made it."""
        try:
            return self.train_dir is not None or self.trainings.stat().st_uid == _user()
        except OSError:
            return False

    def to_dict(self) -> dict[str, int]:
        """The limits, for ``get_metadata``."""
        caps = {e.name: getattr(self, e.name) for e in fields(self) if e.name.startswith("max_")}
        return {**caps, "max_image_bytes": self.limits.member_bytes}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"PI10_{name.upper()}"


def _user() -> int:
    return os.getuid() if sys.platform != "win32" else 0

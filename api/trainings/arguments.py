"""The options of a training, derived from ``pi10 train`` and its recipe."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields as fields_of
from typing import Any

from marshmallow import ValidationError, fields, validate

from pi10_classifier.api.fields import Whole, bounded, one_of, option, upload
from pi10_classifier.api.predictions import model_store
from pi10_classifier.api.settings import Service
from pi10_classifier.errors import SettingError
from pi10_classifier.training.options import OPTIONS
from pi10_classifier.training.recipe import (
    BOUNDS,
    CHANNELS,
    CHOICES,
    HELP,
    POSITIVE,
    SMALL,
    Recipe,
    recipe_for,
)

NEEDED = ("torch", "transformers", "mlflow")
INSTALL = "install the extra [train]"  # no folder of the server is named
_KINDS: dict[str, type[fields.Field]] = {
    "int": Whole, "float": fields.Float, "bool": fields.Boolean, "str": fields.String,
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._,=+-]{0,127}")


def missing() -> list[str]:
    """The packages that training needs but that are not installed here."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def datasets(service: Service) -> list[str]:
    """The names of data sets in the configured folder: all entries that are not hidden."""
    if not service.data_dir:
        return []
    return sorted(p.name for p in service.data_dir.iterdir() if not p.name.startswith("."))


def train_args(service: Service) -> dict[str, fields.Field]:
    """The fields of a training."""
    known = ", ".join(datasets(service)[:20]) or "none is configured"
    lacking = missing()
    note = f" NOT AVAILABLE here: {', '.join(lacking)} missing; {INSTALL}." if lacking else ""
    source = {
        "dataset": option(
            fields.String,
            f"The name of a data set of the service: {known}. Or send one as data.{note}",
            None, one_of(lambda: datasets(service)),
        ),
        "data": upload(
            "An archive (tar, zip) of label/image files, instead of dataset; at most "
            f"{service.max_upload_mb:,} MB.",
            required=False,
        ),
    }  # fmt: skip
    return {**source, **dict(_flags(service)), **dict(_recipe())}


def _flags(service: Service) -> Iterator[tuple[str, fields.Field]]:
    checks: dict[str, Any] = {
        "init": validate.OneOf(["pretrained", "random"]),
        "teacher": one_of(lambda: ["", *model_store.folders(service)]),
    }
    for name, (default, meaning) in OPTIONS.items():
        if name == "split_seed":
            yield name, option(Whole, meaning, int(default))
        else:
            yield name, option(fields.String, meaning, default, checks.get(name, _plain))


def _plain(text: str) -> None:
    if text and not _WORD.fullmatch(text):
        # the command also accepts paths and URLs; a client may give names only
        raise ValidationError(f"{text[:80]!r} is no name; use letters, digits, spaces and ._,=+- .")


def _recipe() -> Iterator[tuple[str, fields.Field]]:
    """A recipe's fields. None means the network's own default, which the description states."""
    usual, paper = recipe_for(SMALL), Recipe()
    choices = {**CHOICES, "channels": CHANNELS}
    for entry in fields_of(Recipe):
        name, kind = entry.name, str(entry.type).removesuffix(" | None")
        if name in OPTIONS or name == "seed" or kind not in _KINDS:
            continue
        text = (
            f"{HELP.get(name, '')} Default: {getattr(usual, name)} (small), "
            f"{getattr(paper, name)} (vit)."
        ).strip()
        if name in choices:
            yield name, option(_KINDS[kind], text, None, validate.OneOf(choices[name]))
        elif kind == "str":
            yield name, option(fields.String, text, None, _plain)
        else:
            bounds = BOUNDS.get(name) or (0, POSITIVE.get(name))
            yield name, bounded(_KINDS[kind], text, None, bounds, positive=name in POSITIVE)


def command(given: Mapping[str, Any], service: Service) -> list[str]:
    """The options as arguments of ``pi10 train``. Raises SettingError if they contradict."""
    words: list[str] = []
    for name in OPTIONS:
        value = given.get(name)
        if name == "teacher" and value:
            value = model_store.folder_of(value, service)
        if value not in (None, ""):
            words.append(f"--{name.replace('_', '-')}={value}")
    changes = {
        entry.name: given[entry.name]
        for entry in fields_of(Recipe)
        if entry.name not in OPTIONS and given.get(entry.name) is not None
    }
    loss = {"loss": given["loss"]} if given.get("loss") else {}
    recipe_for(given.get("network") or given.get("recipe") or SMALL, **changes, **loss)
    words += [f"--set={name}={_toml(value)}" for name, value in changes.items()]
    return words


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class NotTrainableError(SettingError):
    """The packages that training needs are not installed here."""


def require_trainable(given: Mapping[str, Any], lacking: list[str]) -> None:
    """Raise SettingError if packages are lacking, or if there is not exactly one data set."""
    if lacking:
        raise NotTrainableError(
            f"this service cannot train: {', '.join(lacking)} not installed; {INSTALL}"
        )
    if bool(given.get("dataset")) == bool(given.get("data")):
        raise SettingError(
            "give either dataset (a name) or data (an archive), and only one of them"
        )

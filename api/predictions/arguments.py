"""The options of a prediction, and their checked form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import marshmallow
from marshmallow import fields, validate

from pi10_classifier.api.fields import Number, Thresholds, Whole, bounded, one_of, option, upload
from pi10_classifier.api.predictions import model_store
from pi10_classifier.api.predictions.writers import ACCEPTED, ALIASES, JSON, OFFERED
from pi10_classifier.api.settings import Service
from pi10_classifier.inference.settings import BOUNDS, HELP, Settings
from pi10_classifier.instrument.formats import NAMES
from pi10_classifier.model.package import ALIASES as MODEL_ALIASES
from pi10_classifier.model.package import MAX_CLASSES, STARTER

# option -> the parameter of ``classify.Settings`` that it is
ENGINE = {"batch_size": "batch", "measurements": "measure", "um_per_px": "um_per_px"}


class Kinds(validate.OneOf):
    """The kinds of answers: ``choices`` are described, and others known are taken as well."""

    def __call__(self, value: Any) -> Any:
        return value if value in ACCEPTED else super().__call__(value)


def predict_args(service: Service) -> dict[str, fields.Field]:
    """The fields of a prediction; descriptions, defaults and bounds are the engine's own."""
    default = Settings()
    there = ", ".join(model_store.folders(service))
    return {
        "data": upload(
            # without the word "image", for which AI4OS's page (deepaas_ui) would show a picker of
            # pictures, that takes no archive
            f"One or several files: {NAMES}, or archives (tar, zip) of them, such as a "
            f"whole Pi-10 bin with its HitsMisses.txt; at most {service.max_images:,} particles "
            f"and {service.max_upload_mb:,} MB a request.",
            required=True,
        ),
        "model": option(
            fields.String, f"A model package by its name: {there}.", STARTER,
            one_of(lambda: [*model_store.folders(service), *MODEL_ALIASES]),
        ),
        "top_k": bounded(Whole, "How many of the best classes to tell.", 3, (1, MAX_CLASSES)),
        "batch_size": bounded(Whole, HELP["batch"], default.batch, BOUNDS["batch"]),
        "measurements": option(fields.Boolean, HELP["measure"], default.measure),
        "um_per_px": bounded(
            Number, HELP["um_per_px"], default.um_per_px, BOUNDS["um_per_px"]
        ),
        "thresholds": option(
            Thresholds,
            "Flag results of a lower score: one score from 0 to 1, or a JSON object of class and "
            "score; otherwise the model's own.",
            None,
        ),
        "accept": fields.String(
            load_default=JSON,
            validate=Kinds(list(OFFERED)),
            metadata={
                "description": "What to answer with; text/csv and text/html are taken too.",
                "location": "headers",
            },
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for."""

    accept: str
    model: str
    top_k: int
    measure: bool
    batch: int
    um_per_px: float
    thresholds: float | Mapping[str, float] | None

    @classmethod
    def of(cls, given: Mapping[str, Any], service: Service) -> Wanted:
        """From what ``predict`` is called with; what is missing gets its default.

        Checked again, for the DEEPaaS command line checks nothing.
        Raises marshmallow.ValidationError.
        """
        form = _form(service)
        asked = {
            k: v for k, v in given.items() if k in form.fields and v is not marshmallow.missing
        }
        if asked.get("accept") == "*/*":
            asked["accept"] = JSON
        found = form.load({name: value for name, value in asked.items() if value is not None})
        found["accept"] = ALIASES.get(found["accept"], found["accept"])
        return cls(**{ENGINE.get(name, name): value for name, value in found.items()})

    def options(self) -> dict[str, Any]:
        """What was asked for, by the names under which it is asked for."""
        names = {parameter: name for name, parameter in ENGINE.items()}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@lru_cache(maxsize=4)
def _form(service: Service) -> marshmallow.Schema:
    """The options alone. Made once: making it takes longer than measuring an image."""
    known = {name: field for name, field in predict_args(service).items() if name != "data"}
    return marshmallow.Schema.from_dict(known)()

"""The options of a prediction: their fields, and their checked values."""

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
from pi10_classifier.model.package import MAX_CLASSES

# option -> the parameter of ``inference.Settings`` that it sets
ENGINE = {"batch_size": "batch", "measurements": "measure", "um_per_px": "um_per_px"}


class Kinds(validate.OneOf):
    """Content types of answers: ``choices`` are documented; the others in ACCEPTED work too."""

    def __call__(self, value: Any) -> Any:
        return value if value in ACCEPTED else super().__call__(value)


def predict_args(service: Service) -> dict[str, fields.Field]:
    """The fields of a prediction; descriptions, defaults and bounds are the engine's own."""
    default = Settings(device=service.device)
    models = ", ".join(dict.fromkeys([service.model, *model_store.folders(service)]))
    return {
        "data": upload(
            # this text must not hold the word "image": AI4OS's page (deepaas_ui) would then offer
            # a picker of pictures, which accepts no archive
            f"One or several files: {NAMES}, or archives (tar, zip) of them, such as a "
            f"whole Pi-10 bin with its HitsMisses.txt; at most {service.max_images:,} particles "
            f"and {service.max_upload_mb:,} MB a request.",
            required=True,
        ),
        "model": option(
            fields.String, f"The name of a model package: {models}.", service.model,
            one_of(lambda: [service.model, *model_store.folders(service), *MODEL_ALIASES]),
        ),
        "top_k": bounded(Whole, "How many of the best classes to list.", 3, (1, MAX_CLASSES)),
        "batch_size": bounded(
            # a number: for None AI4OS's page would show, and send, the least that is allowed
            Whole, HELP["batch"], default.runtime.batch, BOUNDS["batch"]
        ),
        "measurements": option(fields.Boolean, HELP["measure"], default.measure),
        "um_per_px": bounded(
            Number, HELP["um_per_px"], default.um_per_px, BOUNDS["um_per_px"]
        ),
        "thresholds": option(
            Thresholds,
            "Flag results with a lower score: one score from 0 to 1, or a JSON object of class and "
            "score. Default: the model's own thresholds.",
            None,
        ),
        "accept": fields.String(
            load_default=JSON,
            validate=Kinds(list(OFFERED)),
            metadata={
                "description": "Content type of the answer; text/csv and text/html work too.",
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
        """Read the arguments of ``predict``; missing ones get their defaults.

        They are checked again, because DEEPaaS's command line checks nothing.
        Raises marshmallow.ValidationError.
        """
        form = _form(service)
        asked = {
            k: v for k, v in given.items() if k in form.fields and v is not marshmallow.missing
        }
        if asked.get("accept") == "*/*":
            asked["accept"] = JSON
        options = form.load({name: value for name, value in asked.items() if value is not None})
        options["accept"] = ALIASES.get(options["accept"], options["accept"])
        return cls(**{ENGINE.get(name, name): value for name, value in options.items()})

    def options(self) -> dict[str, Any]:
        """The values by the names of the request's options."""
        names = {parameter: name for name, parameter in ENGINE.items()}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@lru_cache(maxsize=4)
def _form(service: Service) -> marshmallow.Schema:
    """The options without the files. Cached: building it takes longer than measuring an image."""
    known = {name: field for name, field in predict_args(service).items() if name != "data"}
    return marshmallow.Schema.from_dict(known)()

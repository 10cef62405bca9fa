"""The DEEPaaS entry point: the functions that the AI4OS marketplace calls.

DEEPaaS finds these functions by the entry point ``deepaas.v2.model``. What they need is
imported when they are called: a worker that predicts loads no server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pi10_classifier.api.settings import Service

__all__ = [
    "get_metadata", "get_predict_args", "get_train_args", "predict", "schema", "train", "warm",
]  # fmt: skip


def get_metadata() -> dict[str, Any]:
    """Name, version, author, licence, models, limits, data sets and trainings."""
    from pi10_classifier.api.metadata import get_metadata as metadata

    return metadata()


def warm() -> None:
    """Load the model in this worker, and use it once."""
    from pi10_classifier.api.predictions.handler import warm as warm_up

    warm_up()


def get_predict_args() -> dict[str, Any]:
    """The fields of a prediction. Exits the program if a setting is unusable."""
    from pi10_classifier.api.predictions.arguments import predict_args

    return _fields("predict", predict_args)


def predict(**given: Any) -> Any:
    """Classify the uploaded files; see ``predictions``."""
    from pi10_classifier.api.predictions.handler import predict as run

    return run(**given)


def get_train_args() -> dict[str, Any]:
    """The fields of a training. Exits the program if a setting is unusable."""
    from pi10_classifier.api.trainings.arguments import train_args

    return _fields("train", train_args)


def train(**given: Any) -> dict[str, Any]:
    """Train and wait for the end; see ``trainings``."""
    from pi10_classifier.api.trainings.jobs import train as run

    return run(**given)


def _fields(verb: str, fields_of: Callable[[Service], dict[str, Any]]) -> dict[str, Any]:
    from pi10_classifier.api.deepaas.request_parsing import ALLOWED
    from pi10_classifier.api.deepaas.routes import attach
    from pi10_classifier.api.settings import Service

    try:
        service = Service.or_exit()
        attach(service)
        fields = fields_of(service)
        ALLOWED[verb] = frozenset(fields)
        return fields
    except AttributeError as error:  # DEEPaaS would read it as "this model takes no arguments"
        raise RuntimeError(f"a defect of this program: {error}") from error


def __getattr__(name: str) -> Any:
    if name == "schema":
        from pi10_classifier.api.predictions.response_schema import ModelPredictionResponse

        return ModelPredictionResponse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "deepaas.model.v2.wrapper" in sys.modules:  # DEEPaaS is loading its models
    from pi10_classifier.api.deepaas.pool import install

    install()

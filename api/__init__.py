"""The DEEPaaS face: what the AI4OS marketplace and the service call. It holds no science.

DEEPaaS finds these functions by the entry point ``deepaas.v2.model``. Where its server
loads this package, ``server`` gives it workers that outlive a crash and a gate for requests.
"""

from __future__ import annotations

import sys
from typing import Any

from pi10_classifier.api.metadata import get_metadata as _metadata
from pi10_classifier.api.predictions import predict as _predict
from pi10_classifier.api.predictions import warm
from pi10_classifier.api.responses import Answer as schema  # noqa: N813  DEEPaaS's own name for it
from pi10_classifier.api.settings import Service
from pi10_classifier.errors import SettingError

__all__ = ["get_metadata", "get_predict_args", "get_train_args", "predict", "schema", "train", "warm"]


def get_metadata() -> dict[str, Any]:
    return _metadata()


def get_predict_args() -> dict[str, Any]:
    """The fields of a prediction. Ends the program where a setting is unusable."""
    from pi10_classifier.api.predict_args import predict_args

    return predict_args(_service())


def predict(**given: Any) -> Any:
    return _predict(**given)


def get_train_args() -> dict[str, Any]:
    return {}


def train(**given: Any) -> Any:
    return {}


def _service() -> Service:
    # not at import: DEEPaaS would go on without this module, and serve its own test model
    try:
        return Service.from_environ()
    except SettingError as error:
        sys.exit(f"pi10: {error.message}")

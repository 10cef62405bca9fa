"""``get_metadata``: describes the module, its models and its limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pi10_classifier
from pi10_classifier.api.predictions import model_store
from pi10_classifier.api.predictions.writers import ACCEPTED
from pi10_classifier.api.settings import Service
from pi10_classifier.api.trainings.arguments import datasets
from pi10_classifier.api.trainings.jobs import TRAININGS

DISTRIBUTION = "pi10-classifier"


def get_metadata(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Name, version, author, licence, limits, and models with classes, metrics and hashes."""
    service = Service.from_environ(environ)
    distribution = metadata.metadata(DISTRIBUTION)
    return {
        "name": DISTRIBUTION,
        "version": pi10_classifier.__version__,
        "author": _field(distribution, "Author", "Author-email"),
        "license": _field(distribution, "License-Expression", "License"),
        "description": _field(distribution, "Summary"),
        "summary": _field(distribution, "Summary"),
        "models": model_store.describe(service),
        "accept": list(ACCEPTED),
        "limits": service.to_dict(),
        "datasets": datasets(service),
        "trainings": TRAININGS.to_list(),
    }


def _field(distribution: metadata.PackageMetadata, *names: str) -> str:
    return next((distribution[name] for name in names if name in distribution), "")

"""Describes the environment of a training: programs, versions, processor.

Environment variables are left out, as they may hold secrets.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import distributions
from typing import Any

import pi10_classifier


def environment() -> dict[str, Any]:
    """Versions of this program, Python and every installed package; the machine, the GPU."""
    fields = {
        "pi10_classifier": pi10_classifier.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted((d.name, d.version) for d in distributions() if d.name)),
    }
    torch = sys.modules.get("torch")  # a training has loaded it; do not load it only for this
    if torch is not None:
        fields["threads"] = torch.get_num_threads()
        cuda = torch.cuda.is_available()
        fields["gpu"] = torch.cuda.get_device_name() if cuda else ""
    return fields


def environment_text() -> str:
    """:func:`environment` as JSON, for the artifact ``environment.json``."""
    return json.dumps(environment(), indent=1) + "\n"

"""Checks an installation: what is installed, what is missing and how to fix it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from pi10_classifier.errors import Pi10Error
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.versions import versions
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import prepare
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.inference.speed import measure_speed, recommended
from pi10_classifier.model.package import installed, read_package
from pi10_classifier.model.runtime import FP32, RUNTIMES, installed_runtimes
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find
from pi10_classifier.simulate import encode_tiff

# the modules that each extra needs
_EXTRAS = {
    "report": ("matplotlib", "jinja2"),
    "train": ("torch", "transformers", "mlflow", "onnx", "sklearn"),
    "serve": ("deepaas", "prometheus_client"),
    "oscar": ("oscar_python", "yaml", "jsonschema"),
    "watch": ("watchfiles", "prometheus_client"),
    "shore": ("aiohttp", "plotly"),
    "postgres": ("psycopg",),
    "sort": ("sklearn", "aiohttp"),
    "umap": ("umap",),
    "publish": ("netCDF4",),
    "openvino": ("openvino",),
}

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report: the state of one item, and the finding in words."""

    state: State
    what: str
    finding: str


def examine(
    environ: Mapping[str, str] = os.environ,
    model: str = "",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Iterator[Check]:
    """Check everything that a classification needs, the cheapest checks first.

    model: a package whose speed is measured at the end, on each runtime that is installed.
    progress: called with the rounds of measuring done and their number.
    """
    yield _python()
    for name, version in versions().items():
        if version:
            yield Check("ok", name, version)
        else:
            yield Check("broken", name, "not installed; pip install pi10-classifier")
    yield Check("ok", "cores", f"{default_jobs()} usable on {platform.machine()}")
    yield from _devices()
    yield from _models()
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if not missing:
            yield Check("ok", f"extra [{extra}]", f"{', '.join(modules)}: installed")
        else:
            remedy = install_command(extra)
            finding = f"{', '.join(missing)}: not installed; {remedy}"
            yield Check("note", f"extra [{extra}]", finding)
    yield _temporary()
    yield _storage(environ)
    if model:
        yield from _speeds(model, progress)


def _python() -> Check:
    finding = f"{platform.python_version()} on {platform.system()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("ok", "python", finding)
    return Check("note", "python", f"{finding}; this program is tested on 3.11 to 3.13")


def _devices() -> Iterator[Check]:
    usable = ", ".join(installed_runtimes())
    yield Check("ok", "devices", f"{usable}; compare their speed: pi10 doctor --model starter")


def _speeds(model: str, progress: Callable[[int, int], None]) -> Iterator[Check]:
    try:
        folder = find(model)
        graphs = (FP32, *read_package(folder)[0].graphs)
        for precision in graphs:
            read_package(folder, precision)
        devices = [name for name in installed_runtimes() if RUNTIMES[name].graph in graphs]
        speeds = measure_speed(folder, devices, progress=progress)
    except Pi10Error as error:
        yield Check("broken", f"speed of {model}", error.message)
        return
    for speed in speeds:
        yield Check("note" if speed.problem else "ok", f"speed, {speed.device}", str(speed))
    about = f"{model}, {default_jobs()} threads: "
    yield Check("ok", "recommended", about + recommended(speeds, model))


def _models() -> Iterator[Check]:
    """Verify each embedded package and classify one image with it."""
    ground = np.full((48, 64, 3), 240, np.uint8)
    ground[16:32, 16:48] = 40
    folders = installed()
    if not folders:
        yield Check("broken", "models", "none embedded; reinstall pi10-classifier")
    for folder in folders:
        try:
            model = Model.load(folder)
            package = model.package
            for precision in package.graphs:
                read_package(folder, precision)
            image = decode(encode_tiff(ground, datetime(2024, 6, 24, tzinfo=UTC), None, None))
            scores = model.scores(prepare(image.rgb, package.preprocessing)[None])
        except Pi10Error as error:
            yield Check("broken", f"model {folder.name}", error.message)
            continue
        finding = f"version {package.version}, {len(package.classes)} classes, hash verified"
        sane = bool(np.isfinite(scores).all())
        yield Check("ok" if sane else "broken", f"model {folder.name}", finding)


def _temporary() -> Check:
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "x").write_bytes(b"x")
    except OSError as error:
        return Check("note", "temporary folder", f"cannot be written: {error}")
    return Check("ok", "temporary folder", tempfile.gettempdir())


def _storage(environ: Mapping[str, str]) -> Check:
    from pi10_classifier.sources.s3_client import S3Client

    url = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    try:
        S3Client(environ)
    except Pi10Error as error:
        # without an address set, S3 is taken to be unused
        return Check("broken" if url else "note", "s3://", error.message)
    keys = bool(environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"))
    if not keys:
        return Check(
            "note", "s3://", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set"
        )
    return Check("ok", "s3://", f"endpoint {url or 'https://s3.amazonaws.com'}, keys are set")

"""Writes ``map.html``: thumbnails placed by their features, one file that needs nothing else."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pi10_classifier.embedding.space import NEIGHBOURS, PCA, UMAP, plane
from pi10_classifier.embedding.table import read_particles
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.labelling.crops import read_crops, rows_of
from pi10_classifier.labelling.suggestions import Suggestion

MAP = "map.html"
CELL = 64  # px of a thumbnail
_IN_ROW = 32  # thumbnails of a sheet: 2,048 x 2,048 px, which phones can hold
_QUALITY = 82
_LEAST = 3
_NAMES = {PCA: "the first two principal components", UMAP: "UMAP"}


@dataclass(frozen=True, slots=True)
class MapPage:
    """path: of the page; None where there are too few particles. problems: of pictures."""

    path: Path | None
    particles: int
    problems: tuple[str, ...]


def check_map(how: str) -> None:
    """Raises SettingError where UMAP is asked for and not installed."""
    if how == UMAP and find_spec("umap") is None:
        raise SettingError(
            f"--map umap needs umap-learn; run: {install_command('umap')}, or give --map pca"
        )


def write_map(home: Path, how: str = PCA, most: int = 1_500, *, seed: int = 0) -> MapPage:
    """Place at most ``most`` particles of the run ``home``, which has features.

    Their pixels are read again from where the run read them. The same run, seed and size give the
    same page. Raises SettingError, OutputError.
    """
    try:
        particles = read_particles(home, most, seed=seed)
    except SettingError:
        if any((home / "predictions.parquet").glob("*.parquet")):
            raise
        return MapPage(None, 0, ())
    by_id = {place.particle_id: number for number, place in enumerate(particles.places)}
    pictures: dict[int, U8] = {}
    problems = []
    for crop in read_crops(home, particles.places):
        if crop.rgb is None:
            problems.append(f"{crop.particle.particle_id}: {crop.problem}")
        else:
            pictures[by_id[crop.particle.particle_id]] = _thumbnail(crop.rgb)
    shown = sorted(pictures)
    if len(shown) < _LEAST:
        return MapPage(None, 0, tuple(problems))
    if len(shown) <= NEIGHBOURS:
        how = PCA
    places = plane(particles.features[shown], how, seed=seed)
    chosen = [particles.places[number] for number in shown]
    small = [pictures[number] for number in shown]
    data = {
        "cell": CELL,
        "row": _IN_ROW,
        "sheets": _sheets(small),
        "particles": _particles(home, chosen, small, places.tolist()),
    }
    text = (resources.files("pi10_classifier.embedding") / "static" / "map.html").read_text("utf-8")
    about = (
        f"{len(shown):,} of {particles.all:,} particles, placed by {_NAMES[how]} of the features of"
        f" {particles.model} ({particles.model_sha256[:8]})"
    )
    # "<" could end the script that the data lie in
    page = text.replace("@ABOUT@", escape(about)).replace(
        "@DATA@", json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    )
    write_atomically(home / MAP, page.encode("utf-8", "backslashreplace"))
    return MapPage(home / MAP, len(shown), tuple(problems))


def _thumbnail(rgb: U8) -> U8:
    """Pixels (H, W, 3), reduced to at most ``CELL`` a side; small ones stay as they are."""
    height, width = rgb.shape[:2]
    scale = CELL / max(height, width)
    if scale >= 1:
        return rgb.copy()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _sheets(pictures: Sequence[U8]) -> list[str]:
    """Thumbnails in sheets of cells, as data URIs of JPEGs."""
    sheets = []
    on_one = _IN_ROW * _IN_ROW
    for first in range(0, len(pictures), on_one):
        here = pictures[first : first + on_one]
        rows = math.ceil(len(here) / _IN_ROW)
        sheet = np.full((rows * CELL, _IN_ROW * CELL, 3), 255, np.uint8)
        for number, picture in enumerate(here):
            top, left = CELL * (number // _IN_ROW), CELL * (number % _IN_ROW)
            height, width = picture.shape[:2]
            sheet[top : top + height, left : left + width] = picture
        bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        sheets.append(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")
    return sheets


def _particles(
    home: Path, places: Sequence[Suggestion], pictures: Sequence[U8], points: Sequence[Any]
) -> list[list[Any]]:
    """Of each: x, y, width and height of the thumbnail, label, ESD in µm, particle_id."""
    sizes = rows_of(home, places, ["esd_um"])
    told = []
    for place, picture, (x, y) in zip(places, pictures, points, strict=True):
        esd = sizes[place.part, place.row]["esd_um"]
        height, width = picture.shape[:2]
        told.append(
            [round(x, 4), round(y, 4), width, height, place.predicted,
             None if esd is None else round(esd), place.particle_id]
        )  # fmt: skip
    return told

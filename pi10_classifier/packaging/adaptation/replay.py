"""Features of a model's source images, kept so that a new head is fitted together with them.

They lie in ``replay.npz``, beside the package or anywhere: float16, a few MB, no pixels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Sample, Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.features import F32, Trunk, cut
from pi10_classifier.packaging.adaptation.gallery import compute_features

FILE = "replay.npz"
EACH = 200
MOST = 5000  # images of a class
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Replay:
    """Source images as features (N, D), with what was measured (N, M), class and source of each."""

    x: F32
    measured: F32
    labels: tuple[str, ...]
    sources: tuple[str, ...]

    def of(self, classes: Sequence[str]) -> Replay:
        """The images of these classes."""
        keep = np.array([label in classes for label in self.labels], bool)
        labels = tuple(x for x, kept in zip(self.labels, keep, strict=True) if kept)
        sources = tuple(x for x, kept in zip(self.sources, keep, strict=True) if kept)
        return Replay(self.x[keep], self.measured[keep], labels, sources)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was written: images of each class, bytes of the file."""

    out: Path
    images: dict[str, int]
    bytes: int
    left_out: tuple[LeftOut, ...]


def compute_replay(
    model: Model, trunk: Trunk, scan: Scan, samples: Sequence[Sample], each: int, seed: int = 0
) -> Replay:
    """Features of at most ``each`` images of every class, drawn at random."""
    rng = np.random.default_rng(seed)
    chosen: list[Sample] = []
    for group in sorted({s.group for s in samples}):
        mine = [s for s in samples if s.group == group]
        chosen += [mine[i] for i in sorted(rng.permutation(len(mine))[:each])]
    known = compute_features(model, trunk, scan, chosen, views=1)
    labels = tuple(known.classes[i] for i in known.y.tolist())
    sources = tuple(sample.source for sample in known.samples)
    return Replay(known.x[:, 0], known.measured, labels, sources)


def export_replay(
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    *,
    manifest: Path | None = None,
    label_map: LabelMap | None = None,
    each: int = EACH,
    seed: int = 0,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Replayed:
    """Write ``out``, a file of source features for `pi10 adapt`.

    Images come from the training split of ``manifest``, else all count. Raises SettingError if
    there is none, or ``out`` is no .npz, and OutputError if it cannot be written.
    """
    if out.suffix != ".npz":
        raise SettingError(f"--out is {out}; it must end in .npz, such as {FILE}")
    if not 1 <= each <= MOST:
        raise SettingError(f"--each is {each}; it must be 1 to {MOST}")
    scan = load_labelled(inputs, label_map, manifest)
    on_scan(scan)
    samples = of_split(scan, "train") if manifest else list(scan.samples)
    if not samples:
        raise SettingError("there is no labelled image to take features from")
    trunk = cut(model.package, read_package(model.package.folder)[1])
    replay = compute_replay(model, trunk, scan, samples, each, seed)
    meta = {"format": _FORMAT, "trunk_sha256": trunk.sha256(), "names": list(NAMES)}
    partial = out.with_name(f".{out.name}.part")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                meta=np.array(json.dumps(meta)),
                x=replay.x.astype(np.float16),
                measured=replay.measured.astype(np.float32),
                labels=np.array(replay.labels),
                sources=np.array(replay.sources),
            )
        partial.replace(out)
    except OSError as error:
        raise output_error(error, out) from error
    finally:
        partial.unlink(missing_ok=True)
    return Replayed(out, dict(Counter(replay.labels)), out.stat().st_size, scan.left_out)


def read_replay(path: Path, trunk: Trunk) -> Replay:
    """Read a file of ``export_replay``. SettingError if it is damaged, or of another network."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            x, measured = (np.asarray(file[key], np.float32) for key in ("x", "measured"))
            labels, sources = (tuple(map(str, file[key])) for key in ("labels", "sources"))
        if meta["format"] != _FORMAT:
            raise ValueError(f"it has format {meta['format']!r}, this program reads {_FORMAT}")
        shapes = (len(labels), trunk.size), (len(labels), len(NAMES)), len(labels)
        matches = (x.shape, measured.shape, len(sources)) == shapes
        trunk_sha256, names = meta["trunk_sha256"], meta["names"]
    except Exception as error:  # NumPy and zipfile raise many types on damaged files
        raise SettingError(
            f"{path} is no file of source features: {str(error)[:200]}; write it with"
            " `pi10 export replay`"
        ) from error
    if trunk_sha256 != trunk.sha256() or names != list(NAMES) or not matches:
        raise SettingError(
            f"{path} holds features of another network than {trunk.package.name}; write it again"
            " with `pi10 export replay`"
        )
    if not np.isfinite(x).all():
        raise SettingError(
            f"{path}: some source features are not numbers; write it again with"
            " `pi10 export replay`"
        )
    return Replay(x, measured, labels, sources)

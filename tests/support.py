"""Support for tests: a tiny model package, sound images, archives, and runs compared."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.simulate import encode_tiff

CLASSES = ("copepod", "detritus", "noncopepod")
SIZE = 32
START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
TABLES = ("counts.csv", "bins.csv", "failures.csv")


def weights(classes: int = 3, seed: int = 4) -> np.ndarray:
    """Fixed weights of 16 patches; each class wins on some of ``particle``'s images."""
    values = np.random.default_rng(seed).normal(0, 0.02, (16, classes))
    return (values - values.mean(axis=0)).astype(np.float32)


def tiny_model(
    w: np.ndarray | None = None,
    *,
    bias: np.ndarray | None = None,
    name: str = "image",
    kind: int = TensorProto.UINT8,
    size: int = SIZE,
    shape: Sequence[Any] | None = None,
) -> onnx.ModelProto:
    """Image of ``size`` px -> means of 4 x 4 patches -> Gemm -> logits."""
    w = weights() if w is None else w
    bias = np.zeros(w.shape[1], np.float32) if bias is None else bias.astype(np.float32)
    patch = [size // 4] * 2
    nodes = [
        helper.make_node("Cast", [name], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["floats"], ["patches"], kernel_shape=patch, strides=patch),
        helper.make_node("Flatten", ["patches"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, list(shape or ("N", 1, size, size)))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def write_package(
    folder: Path, model: onnx.ModelProto | bytes | None = None, **fields: Any
) -> Path:
    """A model package; ``fields`` replace those of model.json, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = model if isinstance(model, bytes) else (model or tiny_model()).SerializeToString()
    (folder / "model.onnx").write_bytes(graph)
    said: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "version": "1.0",
        "classes": list(CLASSES),
        "preprocessing": {"size": SIZE, "channels": 1, "level": True, "mean": [], "std": []},
        "input": {"name": "image", "dtype": "uint8", "layout": "NCHW"},
        "output": {"name": "logits", "activation": "softmax"},
        "temperature": 1.0,
        "files": {"model.onnx": {"sha256": hashlib.sha256(graph).hexdigest()}},
    }
    said |= fields
    text = json.dumps({key: value for key, value in said.items() if value is not None})
    (folder / "model.json").write_text(text, "utf-8")
    (folder / "README.md").write_text("# tiny\n", "utf-8")
    return folder


def particle(seed: int, when: datetime | None = None, side: int = 40) -> bytes:
    """A dark ellipse on a light ground, as the instrument writes it."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(side // 2, side, 2))
    rows, columns = np.mgrid[:height, :width]
    y, x = rng.uniform(0.45, 0.55, 2) * (height, width)
    b, a = rng.uniform(0.15, 0.35, 2) * (height, width)
    inside = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 < 1
    rgb = rng.integers(225, 250, (height, width, 3))
    rgb[inside] = rng.integers(10, 120)
    return encode_tiff(rgb.astype(np.uint8), when or START, 50.25, -4.2)


def name_of(number: int, start: datetime = START) -> str:
    return f"RawImages\\pia7.{start:%Y-%m-%d.%H%M}+N{number:08d}.tif"


def bin_members(images: int, start: datetime = START, seed: int = 0) -> dict[str, bytes]:
    """A bin as the instrument leaves it: images over ten minutes, and its sidecars."""
    when = [start + timedelta(seconds=600 * n // max(images, 1)) for n in range(images)]
    members = {name_of(n, start): particle(seed * 1000 + n, when[n]) for n in range(images)}
    per_minute = [sum((t - start).seconds // 60 == m for t in when) for m in range(10)]
    rows = "".join(f"{hits},{3 * hits + 1}\n" for hits in per_minute)
    members["HitsMisses.txt"] = rows.encode()
    members["Background.tif"] = particle(9)
    return members


def write_tar(path: Path, members: Mapping[str, bytes | None]) -> Path:
    """A tar of ``members``; None stands for a symbolic link, a trailing / for a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data or b""))
    return path


def write_zip(path: Path, members: Mapping[str, bytes | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if data is None:
                info.external_attr = 0o120777 << 16
            archive.writestr(info, data or b"")
    return path


def write_folder(path: Path, members: Mapping[str, bytes | None]) -> Path:
    """Members with links as dangling links, where the system has them."""
    path.mkdir(parents=True, exist_ok=True)
    for name, data in members.items():
        file = path / name.replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            file.mkdir(exist_ok=True)
        elif data is None:
            file.symlink_to(path / "nowhere")
        else:
            file.write_bytes(data)
    return path


def tables(out: Path) -> dict[str, str]:
    """SHA-256 of each table and part of a run, by path."""
    files = [*(out / "predictions.parquet").iterdir(), *(out / name for name in TABLES)]
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


def litter(out: Path) -> list[str]:
    """Files in a run's folder that are no part of a finished run."""
    return [path.name for path in out.rglob("*") if path.name.endswith((".tmp", ".part"))]


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The predictions, in the order of particle_id."""
    rows: list[dict[str, Any]] = ds.dataset(out / "predictions.parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["particle_id"], row["source"]))


def rows_of_part(part: Path) -> list[dict[str, Any]]:
    """The rows of one part alone, without columns that its folders would add."""
    rows: list[dict[str, Any]] = pq.ParquetFile(part).read().to_pylist()
    return rows


def csv_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))

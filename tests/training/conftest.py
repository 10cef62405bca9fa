"""Two small labelled tars of drawn shapes: one dark on light, one light on black."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pi10_classifier.training import data

SOURCES = {"light": "shapes, dark on light", "black": "shapes, light on black"}
CLASSES = ("copepod", "detritus", "noncopepod")


def draw(group: str, rng: np.random.Generator) -> np.ndarray:
    """A dark shape on 255 among specks: bar, disc, ring, or cross."""
    height, width = (int(n) for n in rng.integers(44, 64, 2))
    image = np.full((height, width), 255, np.uint8)
    middle, reach = (width // 2, height // 2), min(height, width) // 2 - 6
    shade = int(rng.integers(20, 70))
    if group == "copepod":
        cv2.line(image, (middle[0] - reach, middle[1]), (middle[0] + reach, middle[1]), shade, 3)
    elif group == "detritus":
        cv2.circle(image, middle, reach, shade, -1)
    elif group == "noncopepod":
        cv2.circle(image, middle, reach, shade, 2)
    else:
        cv2.line(image, (6, 6), (width - 6, height - 6), shade, 2)
        cv2.line(image, (6, height - 6), (width - 6, 6), shade, 2)
    for _ in range(4):  # specks, so that no two are near duplicates
        at = (int(rng.integers(3, width - 3)), int(rng.integers(3, height - 3)))
        cv2.circle(image, at, 2, 120, -1)
    return image


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, blob in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def fill(folder: Path, each: int = 40, leave_out: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SOURCES):
        rng = np.random.default_rng(number)
        members = {"readme.txt": b"not an image", "copepod/broken.png": b"not an image"}
        for group in (*CLASSES, "other"):
            for i in range(each) if group != leave_out else ():
                image = draw(group, rng)
                if name == "black":
                    image = 255 - image
                members[f"{group}/{group}_{i % 2}/{i:04d}.png"] = png(image)
        write_tar(folder / f"{name}.tar", members)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks gain nothing from threads, and lose much where cores are shared."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One MLflow server for all, not started yet; a start takes longer than most tests."""
    from mlflow_server import Server

    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """A folder of both tars: 40 images a class and source, and 40 of "other"."""
    return fill(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def scanned(shapes) -> data.Scan:
    return data.scan([shapes / f"{name}.tar" for name in SOURCES])


@pytest.fixture
def noise():
    """Images of grain and a blot, PNG, that no two seeds have alike."""

    def make(seed: int, side: int = 40) -> bytes:
        rng = np.random.default_rng(seed)
        grain = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (side, side - seed % 3))
        return png(np.asarray(grain, np.uint8))

    return make


@pytest.fixture(scope="session")
def copepod() -> np.ndarray:
    return draw("copepod", np.random.default_rng(5))

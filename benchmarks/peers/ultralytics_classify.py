"""Ultralytics as its users classify a folder: ``YOLO(weights)(files, stream=True)``."""

import sys
from importlib.metadata import version

import torch
from timing import files_of, report
from ultralytics import YOLO
from ultralytics.utils import SETTINGS

SIDE = 224  # what their classifiers are trained with, and so predict with


def main() -> None:
    folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    SETTINGS.update({"sync": False})  # it would send statistics of its use
    network = YOLO("yolo11n-cls.yaml")

    def classify(files: list[str]) -> None:
        for result in network(files, imgsz=SIDE, stream=True, verbose=False):
            assert result.probs is not None

    name = next(n for n in ("ultralytics-opencv-headless", "ultralytics") if _has(n))
    report(classify, files_of(folder), f"yolo11n-cls, {SIDE} px, {name} {version(name)}")


def _has(name: str) -> bool:
    try:
        return bool(version(name))
    except ModuleNotFoundError:
        return False


main()

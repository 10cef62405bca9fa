"""Collects pictures of the particles with the highest and lowest scores, a few per class."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import cv2

from pi10_classifier.imaging.preprocess import U8

PICTURES = 6


PICTURE_PX = 128


HELD_PX = 4 * PICTURE_PX


Picture = tuple[str, float, str, float | None, U8]  # label, score, name, ESD in µm, RGB


class Gallery:
    """A unit's pictures with the highest and lowest scores, a few per class.

    Threads call ``wants`` while the collector adds. If they see an old bound, they only draw a
    picture that is not needed, so the pictures that are kept do not depend on timing.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[tuple[float, str, float | None, U8]]] = {}

    def wants(self, label: str, score: float) -> bool:
        for rank, sign in (("highest", -1.0), ("lowest", 1.0)):
            kept = self._kept.get((label, rank), [])
            if len(kept) < PICTURES or sign * score <= kept[-1][0]:
                return True
        return False

    def add(self, pictures: Sequence[Picture]) -> None:
        for label, score, name, esd, rgb in pictures:
            for rank, sign in (("highest", -1.0), ("lowest", 1.0)):
                kept = [*self._kept.get((label, rank), ()), (sign * score, name, esd, rgb)]
                self._kept[(label, rank)] = heapq.nsmallest(
                    PICTURES, kept, key=lambda item: item[:2]
                )

    def surest(self, number: int) -> Iterator[Picture]:
        """Up to ``number`` pictures of each class, those with the highest scores."""
        for (label, rank), kept in sorted(self._kept.items()):
            for score, name, esd, rgb in kept[:number] if rank == "highest" else ():
                yield label, -score, name, esd, rgb

    def to_json(self) -> dict[str, Any]:
        """Label -> rank -> pictures as base64 PNG; only the chosen ones are encoded."""
        import base64

        out: dict[str, Any] = {}
        for (label, rank), kept in sorted(self._kept.items()):
            out.setdefault(label, {})[rank] = [
                {
                    "particle_id": name,
                    "score": round(-score if rank == "highest" else score, 6),
                    "esd_um": esd,
                    "png": base64.b64encode(_png(rgb)).decode("ascii"),
                }
                for score, name, esd, rgb in kept
            ]
        return out


def _png(rgb: U8) -> bytes:
    return cv2.imencode(".png", rgb[:, :, ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 1))[1].tobytes()


def thumbnail(rgb: U8) -> U8:
    scale = PICTURE_PX / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    width, height = (max(1, round(side * scale)) for side in rgb.shape[1::-1])
    small: Any = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    out: U8 = small
    return out

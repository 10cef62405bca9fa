"""Small pictures of particles for shore: chosen by class, kept until sent, within an hourly budget.

They come from the galleries of parts, so that nothing more is drawn for them. Lines go first: a
picture is sent only where no line waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import cv2

from pi10_classifier.errors import OutputError
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.instrument.names import Particle
from pi10_classifier.watch.ledger import Ledger

if TYPE_CHECKING:
    from pi10_classifier.results.gallery import Gallery

KEPT = 60  # pictures that wait; older ones give way
OF_CLASS = 2  # pictures of a class from one gallery: the surest first
LARGEST_BYTES = 8192
OVERHEAD_BYTES = 600  # of a request, which the budget counts as well
_QUALITIES = (75, 50, 30)
_HOUR_S = 3600
_SPENT = "pictures"  # the fact with the hour and the bytes that were sent in it


class Waiting(NamedTuple):
    """A picture that waits: its number, what it shows as a query, and its JPEG."""

    number: int
    query: str
    data: bytes


class PictureSpool:
    """Pictures in the ledger. budget_kb: kilobytes that may be sent in an hour by the clock."""

    def __init__(
        self, ledger: Ledger, budget_kb: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger, self._budget, self._clock = ledger, budget_kb * 1000, clock

    def keep(self, gallery: Gallery) -> None:
        """Keep some pictures of a published part. A full disk costs the pictures alone."""
        rows = []
        for label, score, name, esd, rgb in gallery.surest(OF_CLASS):
            data = jpeg(rgb)
            if data:
                fields = {"particle": name, "label": label, "score": f"{score:.4f}"}
                fields |= {"esd_um": f"{esd:.1f}"} if esd is not None else {}
                particle = Particle.parse(name)
                if particle:
                    fields["bin"] = str(particle.bin)
                rows.append((urlencode(fields), data))
        if not rows:
            return
        with suppress(OutputError), self._ledger.transaction() as db:
            db.executemany("insert into pictures(query, data) values (?, ?)", rows)
            db.execute(
                "delete from pictures where id <= (select max(id) from pictures) - ?", (KEPT,)
            )

    def next(self) -> Waiting | None:
        """The newest picture that the hour's budget has room for. Raises OutputError."""
        rows = self._ledger.ask("select id, query, data from pictures order by id desc limit 1")
        if not rows or self._spent() + len(rows[0][2]) + OVERHEAD_BYTES > self._budget:
            return None
        return Waiting(*rows[0])

    def _hour(self) -> int:
        return int(self._clock()) // _HOUR_S

    def _spent(self) -> int:
        hour, _, spent = self._ledger.fact(_SPENT).partition(" ")
        return int(spent) if hour == str(self._hour()) else 0

    def done(self, picture: Waiting) -> None:
        """Forget a picture that was sent, whatever the receiver made of it. Raises OutputError."""
        spent = self._spent() + len(picture.data) + OVERHEAD_BYTES
        with self._ledger.transaction() as db:
            db.execute("delete from pictures where id = ?", (picture.number,))
            values = (_SPENT, f"{self._hour()} {spent}")
            db.execute("insert or replace into facts values (?, ?)", values)


def jpeg(rgb: U8) -> bytes:
    """A small JPEG of a picture (height, width, 3), uint8; empty where none is small enough."""
    for quality in _QUALITIES:
        good, data = cv2.imencode(".jpg", rgb[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
        if good and len(data) <= LARGEST_BYTES:
            return bytes(data.tobytes())
    return b""


def pictures_url(url: str) -> str:
    """Where pictures go: ``pictures`` beside ``lines``, or below any other address of lines."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/lines")
    return urlunsplit(parts._replace(path=f"{path}/pictures"))

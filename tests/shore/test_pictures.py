"""Small pictures from aboard: within their budget, decoded by the gate, shown once."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shore_fleet import make_line, token_of, write_tokens

from pi10_classifier.errors import SettingError
from pi10_classifier.results.gallery import Gallery
from pi10_classifier.shore.receiver import store as stores
from pi10_classifier.shore.receiver.database import Database
from pi10_classifier.shore.receiver.pictures import MOST_BYTES, PictureError, read_picture
from pi10_classifier.shore.receiver.store import Post, Store
from pi10_classifier.shore.voyages.ships import Reader
from pi10_classifier.watch.ashore.pictures import (
    KEPT,
    OVERHEAD_BYTES,
    PictureSpool,
    jpeg,
    pictures_url,
)
from pi10_classifier.watch.ashore.uplink import TOKEN, Uplink
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.options import WatchOptions

GOOD = {"particle": "pia1.2026-01-01.1000+N0001", "label": "copepod", "score": "0.9"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "watch.sqlite")
    yield ledger
    ledger.close()


def pixels(seed: int = 1, side: int = 60) -> np.ndarray:
    rows = np.linspace(40, 230, side)[:, None] + np.linspace(0, 20, side)[None, :] + seed
    return np.repeat(rows[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def gallery(number: int, label: str = "copepod") -> Gallery:
    out = Gallery()
    out.add(
        [
            (label, 0.5 + n / 100, f"pia1.2026-01-01.1000+N{n:04d}", 120.0, pixels(n))
            for n in range(number)
        ]
    )
    return out


def test_from_aboard_to_the_page(ledger: Ledger, place: Any, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    with place.shore(tokens) as shore:
        spool = PictureSpool(ledger, 100)
        spool.keep(gallery(5))
        line = make_line(ledger.id, 1, 30_000_000)
        with ledger.transaction() as db:
            db.execute("insert into lines values (1, '2027-01-15T08:00Z', ?)", (line,))
        url = f"http://127.0.0.1:{shore.port}/lines"
        link = Uplink(url, ledger, {TOKEN: token_of("endeavour")}, spool)
        while link._send() or link._send_picture():
            pass
        told = shore.get("/api/voyages/endeavour/pictures")
        assert sorted((p["label"], p["score"], p["esd_um"]) for p in told) == [
            ("copepod", 0.53, 120.0), ("copepod", 0.54, 120.0),
        ]  # fmt: skip
        assert ledger.ask("select count(*) from pictures") == [(0,)]
        status, data, headers = shore.ask(f"/pictures/{told[0]['picture']}.jpg")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        shown = np.asarray(Image.open(io.BytesIO(data)))
        number = round(told[0]["score"] * 100 - 50)
        assert np.abs(shown.astype(int) - pixels(number)).mean() < 3
        for path in ("/pictures/999.jpg", "/pictures/x.jpg", "/pictures/9999999999999999999.jpg"):
            assert shore.ask(path)[0] == 404
        bearer = {"Authorization": f"Bearer {token_of('endeavour')}"}
        assert shore.ask("/pictures?particle=a&label=b&score=1", b"GIF89a", bearer)[0] == 422
        assert shore.ask("/pictures?particle=a", data, bearer)[0] == 422
        assert shore.ask("/pictures", b"x" * (MOST_BYTES + 1), bearer)[0] == 413
        assert shore.ask("/pictures", data)[0] == 401
        assert len(shore.get("/api/voyages/endeavour/pictures")) == 2


def test_the_hours_budget_is_kept_also_after_a_start(ledger: Ledger) -> None:
    hour = [3600.0 * 500_000]
    size = len(jpeg(pixels()))
    spool = PictureSpool(ledger, 3, lambda: hour[0])
    for _ in range(5):
        spool.keep(gallery(2))
    sent = 0
    for _ in range(2):  # a second start
        spool = PictureSpool(ledger, 3, lambda: hour[0])
        while picture := spool.next():
            sent += len(picture.data) + OVERHEAD_BYTES
            spool.done(picture)
    assert 3000 - size - 2 * OVERHEAD_BYTES < sent <= 3000
    hour[0] += 3600
    assert spool.next() is not None


def test_pictures_that_wait_are_few_and_small(ledger: Ledger) -> None:
    spool = PictureSpool(ledger, 1000)
    for label in range(KEPT):
        spool.keep(gallery(2, f"class {label}"))
    assert ledger.ask("select count(*) from pictures") == [(KEPT,)]
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)
    assert 0 < len(jpeg(noise)) <= 8192


@contextmanager
def lines_alone() -> Iterator[str]:
    """A server that knows no pictures."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/pi10"
    finally:
        server.shutdown()
        server.server_close()


def test_a_receiver_of_lines_alone_is_left_in_peace(ledger: Ledger) -> None:
    with lines_alone() as url:
        spool = PictureSpool(ledger, 1000)
        spool.keep(gallery(3))
        link = Uplink(url, ledger, {}, spool)
        assert not link._send_picture()
        assert link._pictures_from > 0
        assert spool.next() is not None, "kept for the next hour"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({**GOOD, "particle": "a\nb"}, "particle"),
        ({**GOOD, "label": ""}, "label"),
        ({**GOOD, "score": "2"}, "score"),
        ({**GOOD, "score": "nan"}, "score"),
        ({**GOOD, "esd_um": "-1"}, "esd_um"),
        ({"particle": "a", "label": "b"}, "score is missing"),
    ],
)
def test_bad_fields_are_told(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_picture(fields, jpeg(pixels()))


def test_bad_bytes_are_told_and_only_pixels_pass() -> None:
    good = jpeg(pixels())
    hidden = b"<script>alert(1)</script>"
    assert hidden not in read_picture(GOOD, good + hidden).jpeg
    for data in (b"", good[:100], b"<svg/>", jpeg_of(600), b"\0" * (MOST_BYTES + 1)):
        with pytest.raises(PictureError):
            read_picture(GOOD, data)


def jpeg_of(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "JPEG")
    return out.getvalue()


def test_a_ships_newest_pictures_are_kept_once(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "KEPT_PICTURES", 3)
    for number in (1, 2, 2, 3, 4, 5):
        picture = read_picture(GOOD | {"particle": f"p{number}"}, jpeg(pixels(number)))
        (receipt,) = store.enter([Post("endeavour", 1, [], picture=picture)])
    assert receipt.accepted == 1  # type: ignore[union-attr]
    (ship,) = Reader(database).ships()
    assert [p["particle_id"] for p in ship.pictures()] == ["p5", "p4", "p3"]


def test_where_pictures_go() -> None:
    assert pictures_url("https://a.example/shore/lines") == "https://a.example/shore/pictures"
    assert pictures_url("https://a.example/shore/") == "https://a.example/shore/pictures"
    assert pictures_url("http://a:1") == "http://a:1/pictures"
    for options in ({"pictures_kb": -1}, {"pictures_kb": 10}):
        with pytest.raises(SettingError, match="--pictures"):
            WatchOptions(**options)

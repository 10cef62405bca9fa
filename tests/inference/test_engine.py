"""A chunk -> rows, failures and counts, every item accounted for."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import broken_files
import cv2
import numpy as np
import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from images import png_of

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.decode import Caps, Image
from pi10_classifier.imaging.measurement import Measurement, measure_greys
from pi10_classifier.imaging.preprocess import Grey
from pi10_classifier.inference import engine
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.chunks import CHUNK_BYTES, chunks
from pi10_classifier.inference.engine import Engine
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.model.runtime import CHUNK_ITEMS, RUNTIMES
from pi10_classifier.model.session import Model
from pi10_classifier.results.columns import by_row, columns
from pi10_classifier.results.gallery import HELD_PX, PICTURES, Gallery
from pi10_classifier.simulate import encode_tiff
from pi10_classifier.sources.base import Item

NAMES = columns(support.CLASSES)


def items(members: dict[str, bytes | None], source: str = "1450.tar") -> list[Item]:
    return [Item(source, name, data) for name, data in members.items()]


def process(model: Model, chunk: Sequence[Item], batch: int = 8, **options: Any) -> ChunkResult:
    result = Engine(model, batch=batch, **options).process(chunk, Gallery())
    assert result.inputs == len(chunk)
    assert result.inputs == len(result.rows) + len(result.failures) + result.skipped
    return result


def dicts(result: ChunkResult) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, cells, strict=True)) for cells in by_row(result.rows)]


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [8, 8, 4]), ("cpu:int8", [16, 4])])
def test_calls_of_the_model_are_as_large_as_suits_its_runtime(
    package: Path, monkeypatch: pytest.MonkeyPatch, device: str, sizes: list[int]
) -> None:
    model, seen = Model.load(package), []
    answer = model.raw_answer
    model.runtime = RUNTIMES[device]  # a CPU of any kind has none but the first for this package
    monkeypatch.setattr(
        model, "raw_answer", lambda images, more: seen.append(len(images)) or answer(images, more)
    )
    chunk = items({support.name_of(n): support.particle(n) for n in range(20)})
    result = Engine(model).process(chunk, Gallery())
    assert seen == sizes
    assert len(result.rows) == 20


class TestRows:
    def test_say_what_the_instrument_said(self, model: Model) -> None:
        (row,) = dicts(process(model, items({support.name_of(12): support.particle(1)})))
        assert row["particle_id"] == "pia7.2024-06-24.1450+N00000012"
        assert (row["instrument"], row["bin"]) == ("pia7", "pia7.2024-06-24.1450")
        assert row["datetime"] == support.START
        assert (row["latitude"], row["longitude"]) == (50.25, pytest.approx(-4.2))
        assert row["score"] == row[f"score_{row['label']}"] == max(row[s] for s in NAMES[12:15])
        assert row["esd_um"] > 0
        assert row["flags"] == ""

    def test_unknown_stays_empty(self, model: Model) -> None:
        png = broken_files.png(4, 4, zlib.compress((b"\0" + bytes(12)) * 4))
        (row,) = dicts(process(model, items({"dive/crop.png": png})))
        assert row["particle_id"] == "dive/crop"
        assert row["instrument"] is row["bin"] is row["datetime"] is row["latitude"] is None
        assert row["esd_um"] is None
        assert row["flags"] == "no_silhouette"

    def test_without_measuring(self, model: Model) -> None:
        chunk = items({support.name_of(0): support.particle(1)})
        (row,) = dicts(process(model, chunk, measuring=False))
        assert row["esd_um"] is None
        assert row["flags"] == ""

    def test_pixel_size_scales_and_is_compared(self, model: Model) -> None:
        chunk = items({support.name_of(0): support.particle(1)})
        (ten,), (five,) = (dicts(process(model, chunk, um_per_px=s)) for s in (10.0, 5.0))
        assert five["esd_um"] == pytest.approx(ten["esd_um"] / 2)
        assert five["area_um2"] == pytest.approx(ten["area_um2"] / 4)
        assert five["flags"] == "resolution=10"

    def test_clock_never_set(self, model: Model) -> None:
        tiff = support.particle(1).replace(b"2024:06:24", b"0001:01:01")
        result = process(model, items({support.name_of(0): tiff}))
        assert [minute for _, minute, _ in result.counts] == [""]  # no year of any camera

    def test_score_under_its_class_threshold_is_flagged_and_counted(self, tmp_path: Path) -> None:
        chunk = items({support.name_of(n): support.particle(n) for n in range(13)})
        free = process(Model.load(support.write_package(tmp_path / "a")), chunk)
        rows = dicts(free)
        label = Counter(row["label"] for row in rows).most_common(1)[0][0]
        scores = sorted(row["score"] for row in rows if row["label"] == label)
        least = scores[len(scores) // 2]
        strict = process(
            Model.load(support.write_package(tmp_path / "b", thresholds={label: least})), chunk
        )
        for before, after in zip(rows, dicts(strict), strict=True):
            below = before["label"] == label and before["score"] < least
            assert after["flags"] == ("below_threshold" if below else "")
            assert after == {**before, "flags": after["flags"]}
        assert strict.counts == free.counts

    @pytest.mark.parametrize("measuring", [True, False])
    @pytest.mark.parametrize("side", [(80, 100), (600, 700)])  # sheets, and one by one
    def test_a_blank_image_is_no_particle(
        self, model: Model, measuring: bool, side: tuple[int, int]
    ) -> None:
        blank = np.full((*side, 3), 205, np.uint8)
        blank[::7, ::5] += 3
        place = support.START, 50.25, -4.2
        chunk = items({support.name_of(0): encode_tiff(blank, *place),
                       support.name_of(1): support.particle(1)})  # fmt: skip
        result = process(model, chunk, measuring=measuring)
        empty, full = dicts(result)
        assert (empty["label"], empty["score"], empty["esd_um"]) == (NO_PARTICLE, None, None)
        assert empty["flags"] == "no_silhouette"
        assert sum(empty[name] for name in NAMES[12:15]) == pytest.approx(1, abs=1e-5)
        assert full["label"] in support.CLASSES
        assert full["score"] > 0
        bin_id, minute = "pia7.2024-06-24.1450", "2024-06-24T14:50:00Z"
        assert result.counts == {(bin_id, minute, row["label"]): 1 for row in (empty, full)}
        gallery = Gallery()
        gallery.add(result.pictures)
        assert set(json.loads(json.dumps(gallery.to_json()))) == {NO_PARTICLE, full["label"]}

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_several_particles_are_flagged(self, model: Model, number: int) -> None:
        rgb = np.full((120, 280, 3), 205, np.uint8)
        for n in range(number):
            cv2.ellipse(rgb, (45 + 90 * n, 60), (30 - 3 * n, 14), 0, 0, 360, (70, 70, 70), -1)
        (row,) = dicts(process(model, items({"apart.png": png_of(rgb)})))
        assert row["flags"] == (f"objects={number}" if number > 1 else "")
        assert row["feret_um"] == pytest.approx(610, rel=0.02)  # of the largest

    @pytest.mark.parametrize("batch", [1, 2, 5, 32])
    def test_one_image_is_a_batch_of_one(self, model: Model, batch: int) -> None:
        chunk = items({support.name_of(n): support.particle(n) for n in range(13)})
        together = np.array([(row.score, *row.scores) for row in process(model, chunk, batch).rows])
        singles = [process(model, [item], 1).rows[0] for item in chunk]
        alone = np.array([(row.score, *row.scores) for row in singles])
        np.testing.assert_allclose(together, alone, atol=1e-6)


class TestAccounting:
    def test_content_decides_not_the_name(self, model: Model) -> None:
        result = process(model, items({"noext": support.particle(1), "a.txt": b"text"}))
        assert (len(result.rows), result.skipped) == (1, 1)

    @pytest.mark.parametrize(
        "member",
        ["Background.tif", "FlowCellEdges.tif", "Bubbles.txt", "CameraLog.txt", "._x.tif", "x/"],
    )
    def test_no_particles_are_skipped(self, model: Model, member: str) -> None:
        assert process(model, items({member: b"" if member[-1] != "/" else None})).skipped == 1

    def test_nested_archive_is_no_input_lost(self, model: Model) -> None:
        (failure,) = process(model, items({"inner.tar": b"x"})).failures
        assert failure.code is Code.ARCHIVE_LIMIT

    def test_reading_errors_are_recorded(self, model: Model) -> None:
        error = InputError(Code.OBJECT_GONE, "deleted")
        (failure,) = process(model, [Item("s", "m.tif", error=error)]).failures
        assert (failure.source, failure.member, failure.code) == ("s", "m.tif", Code.OBJECT_GONE)

    def test_oversized_video_is_skipped_and_image_is_not(self, model: Model) -> None:
        error = InputError(Code.TOO_LARGE, "huge")
        chunk = [Item("s", "film.mp4", error=error), Item("s", "huge.tif", error=error)]
        result = process(model, chunk)
        assert result.skipped == 1
        assert [failure.member for failure in result.failures] == ["huge.tif"]

    def test_hits_misses_are_kept_by_folder(self, model: Model) -> None:
        result = process(model, items({"HitsMisses.txt": b"3,4\n5,6\n"}))
        assert result.hits_misses == {"1450.tar|": ((3, 4), (5, 6))}
        assert result.skipped == 1

    def test_bad_hits_misses_are_a_failure(self, model: Model) -> None:
        result = process(model, items({"HitsMisses.txt": b"3,4\n5,many\n"}))
        assert [failure.code for failure in result.failures] == [Code.BAD_SIDECAR]

    def test_counts_add_up(self, model: Model) -> None:
        members = support.bin_members(25)
        result = process(model, items(members))
        assert result.counts.total() == 25
        labels = Counter(row["label"] for row in dicts(result))
        assert {k: sum(n for (_, _, x), n in result.counts.items() if x == k) for k in labels} == (
            labels
        )
        assert result.folders == {"1450.tar|": {"pia7.2024-06-24.1450"}}


class TestDefects:
    """A defect of ours, or of the model, costs the images it touches and no more."""

    def test_nan_scores_are_never_labels(self, tmp_path: Path) -> None:
        # white overflows, black does not: such a model passes its trial at loading
        w = support.weights() * np.float32(1e38)
        broken = Model.load(support.write_package(tmp_path, support.tiny_model(w)))
        chunk = items({support.name_of(n): support.particle(n) for n in range(5)})
        result = process(broken, chunk)
        assert not result.rows
        assert {failure.code for failure in result.failures} == {Code.INTERNAL}
        assert not result.counts

    def test_a_failing_graph_costs_its_batch(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []
        answer = Model.raw_answer

        def second_fails(self: Model, batch: Any, measured: Any = None) -> Any:
            calls.append(len(batch))
            if len(calls) == 2:
                raise RuntimeError("out of arena")
            return answer(self, batch, measured)

        monkeypatch.setattr(Model, "raw_answer", second_fails)
        result = process(
            model, items({support.name_of(n): support.particle(n) for n in range(7)}), 3
        )
        assert calls == [3, 3, 1]
        assert len(result.rows) == 4
        assert [failure.code for failure in result.failures] == [Code.INTERNAL] * 3
        assert "out of arena" in result.failures[0].message

    @pytest.mark.parametrize(
        ("error", "code"),
        [(ZeroDivisionError("x"), Code.INTERNAL), (MemoryError(), Code.TOO_LARGE)],
    )
    def test_a_failing_step_costs_its_image(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, error: Exception, code: Code
    ) -> None:
        def fails(greys: list[Grey], um_per_px: float) -> list[Measurement | None]:
            if any(max(grey.pixels.shape) >= 45 for grey in greys):
                raise error
            return measure_greys(greys, um_per_px)

        monkeypatch.setattr("pi10_classifier.inference.engine.measure_greys", fails)
        good = support.particle(1)
        bad = support.particle(1, side=90)
        files = {"a.tif": good, "bad.tif": bad, "c.tif": good, "d.txt": b""}
        result = process(model, items(files))
        assert [(failure.member, failure.code) for failure in result.failures] == [
            ("bad.tif", code)
        ]
        assert [row.member for row in result.rows] == ["a.tif", "c.tif"]
        assert result.skipped == 1

    def test_a_failing_large_image_costs_itself(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> None:
            raise ZeroDivisionError("x")

        monkeypatch.setattr("pi10_classifier.inference.engine.measure", fails)
        files = {
            "large.tif": support.particle(1, side=2 * HELD_PX + 2),
            "b.tif": support.particle(2),
        }
        result = process(model, items(files))
        assert [failure.member for failure in result.failures] == ["large.tif"]
        assert len(result.rows) == 1


def test_every_kind_of_broken_file_has_a_result_or_a_reason(model: Model) -> None:
    broken = broken_files.broken_files(np.random.default_rng(0))
    assert len(broken) >= 60
    result = process(model, items({f"{name}.tif": data for name, data in broken.items()}))
    assert len(result.rows) + len(result.failures) == len(broken)
    assert [f for f in result.failures if f.code is Code.INTERNAL] == []
    assert all(failure.message for failure in result.failures)


class TestChunks:
    @given(st.lists(st.one_of(st.none(), st.integers(0, CHUNK_BYTES // 2)), max_size=100))
    def test_nothing_is_lost_and_nothing_grows(self, sizes: list[int | None]) -> None:
        block = memoryview(bytes(CHUNK_BYTES))
        given_ = [
            Item("s", str(n), None if size is None else block[:size])  # type: ignore[arg-type]
            for n, size in enumerate(sizes)
        ]
        cut = list(chunks(iter(given_)))
        assert [item for chunk in cut for item in chunk] == given_
        for chunk in cut:
            assert 1 <= len(chunk) <= CHUNK_ITEMS
            assert sum(len(item.data or b"") for item in chunk[:-1]) < CHUNK_BYTES


def picture(grey: int) -> np.ndarray:
    return np.full((2, 3, 3), grey, np.uint8)


class TestGallery:
    @given(st.permutations(range(20)))
    def test_keeps_the_same_whatever_comes_first(self, order: list[int]) -> None:
        gallery = Gallery()
        for n in order:
            score = (n % 7) / 7
            if gallery.wants("copepod", score):
                gallery.add([("copepod", score, f"n{n:02}", None, picture(n))])
        expected = Gallery()
        expected.add([("copepod", (n % 7) / 7, f"n{n:02}", None, picture(n)) for n in range(20)])
        assert gallery.to_json() == expected.to_json()

    def test_scores_keep_their_sign(self) -> None:
        """A graph without activation may give negative ones."""
        gallery = Gallery()
        gallery.add(
            [("copepod", -2.5, "a", 10.0, picture(1)), ("copepod", -1.0, "b", None, picture(2))]
        )
        kept = gallery.to_json()["copepod"]
        assert [p["score"] for p in kept["highest"]] == [-1.0, -2.5]
        assert [p["score"] for p in kept["lowest"]] == [-2.5, -1.0]
        json.dumps(kept)

    def test_is_bounded(self) -> None:
        gallery = Gallery()
        gallery.add([("copepod", n / 100, str(n), None, picture(n)) for n in range(100)])
        kept = gallery.to_json()["copepod"]
        assert len(kept["highest"]) == len(kept["lowest"]) == PICTURES
        assert not gallery.wants("copepod", 0.5)
        assert gallery.wants("copepod", 0.999)


def test_threads_take_turns_outside_the_network(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def decode(data: bytes, caps: Caps) -> Image:
        inside.append(1)
        time.sleep(0.001)  # lets go of Python's lock, as a call of OpenCV does
        seen.append(len(inside))
        image = real(data, caps)
        inside.pop()
        return image

    real = engine.decode
    monkeypatch.setattr(engine, "decode", decode)
    chunk = items({support.name_of(n): support.particle(n) for n in range(6)})
    for turns, small in ((1, engine.SMALL_BYTES), (4, engine.SMALL_BYTES), (1, 0)):
        monkeypatch.setattr(engine, "SMALL_BYTES", small)  # 0: as if the images were large
        seen.clear()
        shared = Engine(model, batch=2, turns=turns)
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _, e=shared: e.process(chunk, Gallery()), range(8)))
        assert all(len(result.rows) == 6 for result in done)
        assert max(seen) == 1 if turns == 1 and small else max(seen) > 1

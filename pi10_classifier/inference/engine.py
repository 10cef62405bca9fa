"""Turns a chunk of items into rows, failures and counts: decode, prepare, predict, measure.

The engine holds the model and no state that changes, so any number of threads can share it.
Batches are cut from a chunk in its order, so scores do not depend on the threads.

Outside the network threads take turns with small images, as Python runs one at a time: an image
needs many short calls that let go of Python's lock, and threads would hand it to and fro at each.
One works on pixels and rows while another waits for the network.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import cv2
import numpy as np

from pi10_classifier.abundance.track import merge
from pi10_classifier.errors import Code, Failure, InputError
from pi10_classifier.imaging.blank import is_doubtful, is_faint, shows_nothing
from pi10_classifier.imaging.camera import Camera
from pi10_classifier.imaging.decode import CAPS, Caps, decode, looks_like_image
from pi10_classifier.imaging.measured_vector import F32, measured_vector
from pi10_classifier.imaging.measurement import (
    MAX_SIDE_PX,
    Measurement,
    border_grey,
    measure,
    measure_greys,
)
from pi10_classifier.imaging.preprocess import U8, Grey, prepare
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.settings import Settings
from pi10_classifier.instrument.hits_misses import HitsMisses, note_hits_misses
from pi10_classifier.instrument.moments import minute as minute_of
from pi10_classifier.instrument.moments import moment
from pi10_classifier.instrument.names import (
    BIN_MINUTES,
    NO_PARTICLE,
    UM_PER_PX,
    Kind,
    Particle,
    bin_folder,
    is_background,
    kind_of,
    particle_id,
)
from pi10_classifier.instrument.tiff import NO_TAGS, Tags
from pi10_classifier.model.session import Answer, Model
from pi10_classifier.results.columns import Row
from pi10_classifier.results.feature_part import F16
from pi10_classifier.results.gallery import HELD_PX, Gallery, thumbnail
from pi10_classifier.results.run_folder import UNLIKE
from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import Item

RESOLUTION_TOLERANCE = 0.01
SMALL_BYTES = 2**18  # a crop of 300 x 290 px without compression
_LARGEST = float(np.finfo(np.float16).max)
_UNSEEN = Camera()
# the first fields of a measurement are columns, in the same order
_SIZES = Measurement._fields.index("grey_sd") + 1
_NO_SIZES = (None,) * _SIZES
_NO_TIME, _BIN_TIME = timedelta(), timedelta(minutes=BIN_MINUTES)


@dataclass(slots=True)
class _Decoded:
    """A decoded image that waits for its scores. ``picture`` is small enough to keep.

    grey: kept until it is measured together with others. measured: the numbers that the model
    takes. blank: it shows no particle.
    """

    item: Item
    tags: Tags
    flags: tuple[str, ...]
    width: int
    height: int
    picture: U8
    camera: Camera
    grey: Grey | None = None
    size: Measurement | None = None
    measured: F32 | None = None
    blank: bool = False
    error: InputError | None = None


class Engine:
    """Turns chunks of items into results."""

    def __init__(
        self,
        model: Model,
        *,
        batch: int | None = None,
        measuring: bool = True,
        um_per_px: float = UM_PER_PX,
        caps: Caps = CAPS,
        groups: bool = False,
        camera: bool = False,
        turns: int = 1,
    ) -> None:
        """batch: images per call; None for what suits. turns: threads outside the network."""
        # one thread per image, because the pipeline itself runs several threads
        cv2.setNumThreads(1)
        self._model = model
        self._batch = batch or model.runtime.batch
        self._measuring = measuring
        self._taken = model.package.measured
        self._um_per_px = um_per_px
        self._caps = caps
        self._camera = camera
        # a threshold of 0 flags nothing
        package = model.package
        self._least = package.thresholds or (0.0,) * len(package.classes)
        self._groups = groups and package.groups is not None
        self._usual = package.novelty.threshold if package.novelty else math.inf
        self._turn = threading.Semaphore(turns)

    @classmethod
    def from_settings(cls, model: Model, settings: Settings) -> Engine:
        """An engine with these settings; it uses ``model``, not ``settings.model``."""
        return cls(
            model,
            batch=settings.batch,
            measuring=settings.measure,
            um_per_px=settings.um_per_px,
            caps=settings.caps,
            groups=settings.groups,
            camera=settings.camera,
            turns=max(1, settings.jobs // 2),
        )

    def process(self, chunk: Sequence[Item], gallery: Gallery) -> ChunkResult:
        """Process every item of the chunk."""
        result = ChunkResult(inputs=len(chunk))
        result.unlike_training = Counter() if self._model.package.novelty else None
        result.groups = Counter() if self._groups else None
        spec = self._model.package.preprocessing
        batch = np.empty((len(chunk), spec.channels, spec.size, spec.size), np.uint8)
        decoded: list[_Decoded] = []
        # a large image is one long call without Python's lock, so others need not wait for it
        long_calls = any(item.data and len(item.data) > SMALL_BYTES for item in chunk)
        with nullcontext() if long_calls else self._turn:
            for item in chunk:
                if not self._is_image(item, kind_of(item.member), result):
                    continue
                try:
                    entry = self._decode(item, batch[len(decoded)])
                except Exception as error:  # a bug of ours must cost one image, not the run
                    _fail(result, item, _typed(error))
                else:
                    decoded.append(entry)
            self._measure(decoded)
        scored: list[_Decoded] = []
        answers: list[Answer] = []
        for start in range(0, len(decoded), self._batch):
            part = decoded[start : start + self._batch]
            images = batch[start : start + len(part)]
            try:
                answers.append(self._model.raw_answer(images, self._measured(part)))
            except Exception as error:
                for entry in part:
                    _fail(result, entry.item, _typed(error))
            else:
                scored += part
        if scored:  # what follows the network is made once for all batches
            with self._turn:
                answer = self._model.activated(Answer.joined(answers))
                self._record(scored, answer, result, gallery)
        return result

    def _is_image(self, item: Item, kind: Kind, result: ChunkResult) -> bool:
        """True if the item must be decoded; otherwise it is counted here."""
        error = item.error
        if error is not None:
            if error.code is Code.TOO_LARGE and kind is Kind.OTHER:
                result.skipped += 1
            else:
                _fail(result, item, error)
            return False
        if item.data is None:
            result.skipped += 1
            return False
        if kind is Kind.IMAGE:
            return True
        if kind is Kind.OTHER:
            if is_archive(item.member):
                nested = InputError(
                    Code.ARCHIVE_LIMIT,
                    "an archive inside an archive is not opened; unpack the outer one",
                )
                _fail(result, item, nested)
                return False
            if looks_like_image(item.data[:16]):
                return True  # content decides, not the extension
            result.skipped += 1
            return False
        if kind is Kind.HITS_MISSES:
            folder = _folder_key(item)
            try:
                rows = HitsMisses.parse(item.data).rows
                note_hits_misses(result.hits_misses, result.sidecars, folder, item.member, rows)
            except ValueError as problem:
                _fail(result, item, InputError(Code.BAD_SIDECAR, f"{problem}; correct the file"))
                return False
        if is_background(item.member):
            grey = border_grey(item.data, self._caps)
            if grey is not None:
                result.backgrounds[_folder_key(item)] = grey
        result.skipped += 1
        return False

    def _decode(self, item: Item, slot: U8) -> _Decoded:
        """Decode and measure one item, and prepare its pixels into ``slot``."""
        image = decode(item.data or b"", self._caps)
        rgb = image.rgb
        grey = Grey.of(rgb)
        prepare(rgb, self._model.package.preprocessing, grey, slot)
        height, width = rgb.shape[:2]
        camera = Camera.of(grey) if self._camera else _UNSEEN
        entry = _Decoded(item, image.tags, image.flags, width, height, rgb, camera)
        # pixels are kept until the batch is scored, so a large image is reduced
        if max(width, height) > HELD_PX:
            entry.picture = thumbnail(rgb)
            size = measure(rgb, self._um_per_px) if self._measuring or self._taken else None
            self._judge(entry, grey, size)
        else:
            entry.grey = grey
        return entry

    def _measure(self, decoded: Sequence[_Decoded]) -> None:
        small = [(entry, entry.grey) for entry in decoded if entry.grey]
        try:
            sizes = self._sizes([grey for _, grey in small])
            for (entry, grey), size in zip(small, sizes, strict=True):
                self._judge(entry, grey, size)
        except Exception:  # then measure one by one, so that it costs no other image
            for entry, grey in small:
                try:
                    self._judge(entry, grey, self._sizes([grey])[0])
                except Exception as error:
                    entry.error = _typed(error)

    def _sizes(self, greys: list[Grey]) -> list[Measurement | None]:
        wanted = self._measuring or self._taken
        return measure_greys(greys, self._um_per_px) if wanted else [None] * len(greys)

    def _measured(self, part: Sequence[_Decoded]) -> F32 | None:
        """What the model takes beside the images, (N, M); None if it takes nothing."""
        if self._taken is None:
            return None
        missing = measured_vector(None, self._um_per_px, self._taken.names)
        return np.stack([missing if x.measured is None else x.measured for x in part])

    def _judge(self, entry: _Decoded, grey: Grey, size: Measurement | None) -> None:
        """Store the size, or that the image shows no particle."""
        if self._taken:
            entry.measured = measured_vector(size, self._um_per_px, self._taken.names)
        if not self._measuring:
            # without sizes only faint images are checked: a full check would mean measuring
            if not is_faint(grey):
                return
            if size is None and max(grey.pixels.shape) <= MAX_SIDE_PX:
                size = measure_greys([grey], self._um_per_px)[0]
        entry.blank = is_doubtful(size, grey) and shows_nothing(grey.pixels, self._um_per_px)
        entry.size = size if self._measuring and not entry.blank else None

    def _record(
        self, part: Sequence[_Decoded], answer: Answer, result: ChunkResult, gallery: Gallery
    ) -> None:
        package, scores = self._model.package, answer.scores
        finite = np.isfinite(scores.sum(axis=1)).tolist()
        best = scores.argmax(axis=1).tolist()
        untold: list[Any] = [None] * len(part)
        told = untold if answer.novelty is None else answer.novelty.tolist()
        finer = self._model.finer_labels(answer) if self._groups else untold
        features = untold if answer.features is None else _halved(answer.features)
        last_tags, last_bin = NO_TAGS, ""
        for entry, top, good, values, novelty, group, own in zip(
            part, best, finite, scores.tolist(), told, finer, features, strict=True
        ):
            error = entry.error
            if not good:
                error = InputError(Code.INTERNAL, f"the model gave scores {values}; not a number")
            elif novelty is not None and not math.isfinite(novelty):
                error = InputError(Code.INTERNAL, f"the model gave novelty {novelty}; not a number")
            elif answer.features is not None and own is None:
                error = InputError(Code.INTERNAL, "a feature is no number within 65,504")
            if error:
                _fail(result, entry.item, error)
                continue
            if own is not None:
                result.features.append(own)
            item, tags, size = entry.item, entry.tags, entry.size
            particle = Particle.parse(item.member)
            name = str(particle) if particle else particle_id(item.member)
            bin_id = name.rpartition("+")[0] if particle else ""
            # an image without a particle gets no class, whatever its scores
            label = NO_PARTICLE if entry.blank else package.classes[top]
            when, minute = tags.when, minute_of(tags.when)
            result.counts[bin_id, minute, label] += 1
            if result.groups is not None and not entry.blank:
                result.groups[group] += 1
            unlike = novelty is not None and novelty > self._usual and not entry.blank
            if unlike and result.unlike_training is not None:
                result.unlike_training[bin_id, minute, label] += 1
            if bin_id:
                result.folders.setdefault(_folder_key(item), set()).add(bin_id)
                # tags are one object for all images of a second
                if when and (tags is not last_tags or bin_id != last_bin):
                    _note_fix(result, (bin_id, minute), when, tags)
                    last_tags, last_bin = tags, bin_id
            # in the order of Row's fields
            row = Row._make((
                name, item.source, item.member,
                particle.bin.instrument if particle else None, bin_id or None,
                when, tags.latitude, tags.longitude, entry.width, entry.height,
                label, None if entry.blank else values[top], tuple(values),
                *(size[:_SIZES] if size else _NO_SIZES),
                None if entry.blank else novelty, None if entry.blank else group,
                *entry.camera,
                None,  # the raising factor, known only after the whole minute
                self._flags(entry, particle, values[top] < self._least[top], unlike),
                package.name, package.sha256,
            ))  # fmt: skip
            result.rows.append(row)
            score = 0.0 if entry.blank else values[top]
            if gallery.wants(label, score):
                esd = round(size.esd_um, 1) if size else None
                # copied: a view would hold the whole chunk's bytes
                small = thumbnail(entry.picture).copy()
                result.pictures.append((label, score, name, esd, small))

    def _flags(self, entry: _Decoded, particle: Particle | None, below: bool, unlike: bool) -> str:
        flags = list(entry.flags)
        if below and not entry.blank:
            flags.append("below_threshold")
        if unlike:
            flags.append(UNLIKE)
        if entry.blank or (self._measuring and entry.size is None):
            flags.append("no_silhouette")
        elif entry.size is not None:
            if entry.size.touches_border:
                flags.append("touches_border")
            if entry.size.objects > 1:
                flags.append(f"objects={entry.size.objects}")
        if particle:
            when = entry.tags.when
            if when is None:
                flags.append("no_datetime")
            elif not _NO_TIME <= when - particle.bin.start < _BIN_TIME:
                flags.append("clock_outside_bin")
            um_per_px = entry.tags.um_per_px
            if um_per_px and abs(um_per_px / self._um_per_px - 1) > RESOLUTION_TOLERANCE:
                flags.append(f"resolution={um_per_px:.3g}")
        return ";".join(flags)


def _note_fix(result: ChunkResult, place: tuple[str, str], when: datetime, tags: Tags) -> None:
    if tags.latitude is not None and tags.longitude is not None:
        fix = (moment(when), tags.latitude, tags.longitude)
        result.fixes[place] = merge(result.fixes.get(place), (fix, fix))


def _halved(features: F32) -> list[F16 | None]:
    """The rows of features (N, D) as float16; None for one with a number that is none there."""
    within = np.abs(features).max(axis=1) <= _LARGEST  # false for NaN
    with np.errstate(over="ignore", invalid="ignore"):
        half = features.astype(np.float16)
    return [row if good else None for row, good in zip(half, within.tolist(), strict=True)]


def _fail(result: ChunkResult, item: Item, error: InputError) -> None:
    result.failures.append(Failure(item.source, item.member, error.code, error.message))
    # a bin without a readable file is still known by the names
    particle = Particle.parse(item.member)
    if particle and error.code is not Code.OBJECT_GONE:  # a file that is gone is not in this folder
        result.folders.setdefault(_folder_key(item), set()).add(str(particle.bin))


def _typed(error: Exception) -> InputError:
    """The failure of an image in which a step raised ``error``."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError):
        return InputError(Code.TOO_LARGE, "not enough memory to decode and measure it")
    return InputError(Code.INTERNAL, f"{type(error).__name__}: {str(error)[:200]}; please report")


def _folder_key(item: Item) -> str:
    return f"{item.source}|{bin_folder(item.member)}"

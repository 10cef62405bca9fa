"""Another model takes over between two bins: the one in work is finished, the next one waits.

A bin of which some images were classified by one model and some by another has two densities, of
fewer images each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pi10_classifier.instrument.names import BIN_MINUTES, Bin, Kind, Particle, bin_folder, kind_of
from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.queue import InputQueue

# a bin is complete when no image of it came for QUIET_S, or for LATE_S while others wait
QUIET_S, LATE_S = 120.0, 15.0
# the longest wait; a bin that takes longer is divided
LONGEST_S = 2 * 60.0 * BIN_MINUTES
_BESIDE = (Kind.HITS_MISSES, Kind.SIDECAR)


class ModelChanged(KeyboardInterrupt):
    """Stops the work as a signal does, for another model to go on."""


class NextModel:
    """What one model leaves to the next.

    waits: whether there is another model. taken: whether the work was left to it.
    """

    def __init__(
        self, waits: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.taken = False
        self._waits, self._clock = waits, clock
        # when an image of a bin, or of a folder, was last taken
        self._last: dict[Bin | str, float] = {}
        self._since: float | None = None
        self._left_at = float("-inf")

    def divide(self, taken: Sequence[InputVersion], waiting: InputQueue) -> list[InputVersion]:
        """Those of ``taken`` that are for this model: all, or those of a bin in work.

        The others go back to ``waiting``. Raises ModelChanged where no bin is in work and another
        model waits, and after ``LONGEST_S`` in any case.
        """
        now = self._clock()
        mine = list(taken)
        if self._waits():
            self._since = now if self._since is None else self._since
            mine = []
            for candidate in taken:
                if self._is_of_open_bin(candidate, now):
                    mine.append(candidate)
                else:
                    waiting.later(candidate, LATE_S)
                    self._left_at = now
            if (not mine and self._is_between_bins(now)) or now - self._since > LONGEST_S:
                self.taken = True
                raise ModelChanged
        else:
            self._since = None
        self._last = {key: at for key, at in self._last.items() if now - at < QUIET_S}
        for candidate in mine:
            if not candidate.is_archive and (particle := Particle.parse(candidate.name)):
                self._last[particle.bin] = self._last[bin_folder(candidate.name)] = now
        return mine

    def _is_of_open_bin(self, candidate: InputVersion, now: float) -> bool:
        if candidate.is_archive:  # whole
            return False
        particle = Particle.parse(candidate.name)
        if particle is None and kind_of(candidate.name) not in _BESIDE:
            return False
        key = particle.bin if particle else bin_folder(candidate.name)
        return now - self._last.get(key, float("-inf")) < QUIET_S

    def _is_between_bins(self, now: float) -> bool:
        others_wait = now - self._left_at <= 2 * LATE_S
        enough = LATE_S if others_wait else QUIET_S
        return now - max(self._last.values(), default=float("-inf")) >= enough

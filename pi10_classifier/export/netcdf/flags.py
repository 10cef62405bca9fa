"""Quality of the minutes as variables: codes (flag_values) and what is remarkable (flag_masks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pi10_classifier.abundance.position import POSITION_FLAGS
from pi10_classifier.abundance.quality import CLASS_NOT_VALIDATED, CLASS_VALIDATED, FLAGS
from pi10_classifier.errors import SettingError
from pi10_classifier.export.netcdf.track import Point
from pi10_classifier.export.netcdf.variables import QUALITY, TIME, Variable
from pi10_classifier.export.validated import Validated
from pi10_classifier.instrument.names import NO_PARTICLE

_L20 = {
    0: "no_quality_control", 1: "good", 2: "probably_good", 3: "probably_bad", 4: "bad",
    9: "missing",
}  # fmt: skip
_QARTOD = {1: "pass", 2: "not_evaluated", 3: "suspect", 4: "fail", 9: "missing"}


def flags(points: Sequence[Point], validated: Validated) -> list[Variable]:
    """Raises SettingError for a code or flag that this version does not know."""

    def codes(name: str, get: Callable[[Point], str | int], meanings: Mapping[int, str],
              long_name: str, **attributes: str) -> Variable:  # fmt: skip
        values = np.array([int(get(point) or 9) for point in points], "i1")
        if strange := sorted(set(values.tolist()) - set(meanings)):
            raise SettingError(
                f"{name} has the code {strange[0]}, of another version of this program; make the "
                "tables again: pi10 classify … --resume"
            )
        return Variable(
            name, "i1", (TIME,), values,
            {
                "long_name": long_name, **attributes,
                "flag_values": np.array(list(meanings), "i1"),
                "flag_meanings": " ".join(meanings.values()), "coverage_content_type": QUALITY,
            },
        )  # fmt: skip

    corrected = {name for name, _ in validated.by_bin}
    l20 = "SeaDataNet L20, http://vocab.nerc.ac.uk/collection/L20/current/"
    qartod = "IOOS QARTOD"
    return [
        codes("quality_l20", lambda p: p.minute.l20, _L20, "quality of volume, counting and time",
              standard_name="quality_flag", references=l20),
        codes("quality_qartod", lambda p: p.minute.qartod, _QARTOD,
              "quality of volume, counting and time", standard_name="aggregate_quality_flag",
              references=qartod),
        codes("position_l20", lambda p: p.minute.position_l20, _L20, "quality of the position",
              standard_name="quality_flag", references=l20),
        codes("position_qartod", lambda p: p.minute.position_qartod, _QARTOD,
              "quality of the position", standard_name="location_test_quality_flag",
              references=qartod),
        codes("classification_l20", lambda p: CLASS_VALIDATED[0] if p.minute.bin in corrected else
              CLASS_NOT_VALIDATED[0], _L20,
              "quality of the classification", standard_name="quality_flag", references=l20,
              comment="1: corrected_density rests on a sample that people labelled; 0: the model's "
              "errors are in all densities"),
        _masks("sampling_flags", points, {name: flag.meaning for name, flag in FLAGS.items()
                                          if name != NO_PARTICLE},
               "what is remarkable about volume, counting and time"),
        _masks("position_flags", points, POSITION_FLAGS, "what is remarkable about the position"),
    ]  # fmt: skip


def _masks(
    name: str, points: Sequence[Point], meanings: Mapping[str, str], long_name: str
) -> Variable:
    bits = {flag: 1 << place for place, flag in enumerate(meanings)}
    known = {*FLAGS, *POSITION_FLAGS}
    values = np.zeros(len(points), "i4")
    for place, point in enumerate(points):
        for flag in point.minute.flags:
            if flag not in known:
                raise SettingError(
                    f"bin {point.minute.bin} has the flag {flag!r}, of another version of this "
                    "program; make the tables again: pi10 classify … --resume"
                )
            values[place] |= bits.get(flag, 0)
    return Variable(
        name, "i4", (TIME,), values,
        {
            "long_name": long_name,
            "flag_masks": np.array(list(bits.values()), "i4"),
            "flag_meanings": " ".join(bits),
            "comment": "; ".join(f"{flag}: {meaning}" for flag, meaning in meanings.items()),
            "coverage_content_type": QUALITY,
        },
    )  # fmt: skip

"""Numbers of a defective sender: each is refused with its line, and none ends the request."""

import json

import pytest

from pi10_classifier.shore.receiver.lines import LineError, position_of
from pi10_classifier.shore.receiver.lines import _number as number
from pi10_classifier.shore.receiver.lines import _sums as sums
from pi10_classifier.shore.webpage.views import _short as short


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), float("nan"), float("inf"), True, "1", None]
)
def test_what_is_no_usable_number_is_refused(value):
    with pytest.raises(LineError, match="must be a number"):
        number(value, "density")


def test_a_fix_older_than_any_cruise_is_refused():
    with pytest.raises(LineError, match="must be a number"):
        position_of({"at": [50.0, -4.0, 1e15]}, 28_000_000)
    assert position_of({"at": [50.0, -4.0, 3]}, 28_000_000) == (27_999_997, 50.0, -4.0)


@pytest.mark.parametrize(
    ("values", "weight"),
    [([34.0, 1.0, 0.5, 2.0], 0.0), ([34.0, 1.0, 0.5, 2.0, 0.0, 0.1], 2.0)],
)
def test_a_density_without_weight_or_variance_has_no_interval(values, weight):
    with pytest.raises(LineError, match="weight or variance"):
        sums("copepod", values, 1, weight)


def test_json_never_holds_nan():
    assert [short(value) for value in (float("nan"), float("inf"), None)] == [None] * 3
    assert json.loads(json.dumps(short(1.23456789), allow_nan=False)) == 1.23457

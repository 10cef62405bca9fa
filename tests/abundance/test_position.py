"""Where the ship was: distances, the sun, jumps, land, port."""

from datetime import UTC, datetime, timedelta

import pytest

from pi10_classifier.abundance.coastline import is_inland, is_near_land
from pi10_classifier.abundance.position import (
    POSITION_CODES,
    POSITION_FLAGS,
    Fix,
    day_or_night,
    distance_m,
    midpoint,
    position_flags,
    sun_elevation,
)

START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)


def track(*places, step=1):
    return [
        Fix(START + timedelta(minutes=i * step), place, place) for i, place in enumerate(places)
    ]


@pytest.mark.parametrize(
    ("a", "b", "metres"),
    [
        ((0, 0), (0, 1), 111_195),
        ((54, 2), (54, 2), 0),
        ((60, 0), (60, 1), 55_597),
        ((0, 179.5), (0, -179.5), 111_195),
        ((90, 0), (-90, 0), 20_015_087),
    ],
)
def test_distances(a, b, metres):
    assert distance_m(a, b) == pytest.approx(metres, rel=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "middle"),
    [((54, 2), (54, 2), (54, 2)), ((0, 1), (0, 3), (0, 2)), ((0, 179), (0, -179), (0, 180)),
     ((89, 0), (89, 180), (90, 0))],
)  # fmt: skip
def test_midpoints(a, b, middle):
    assert distance_m(midpoint(a, b), middle) < 1


def test_midpoint_of_opposite_places_is_one_of_them():
    assert midpoint((0, 0), (0, 180)) == (0, 0)


def test_the_sun_at_known_moments():
    assert sun_elevation(datetime(2024, 6, 20, 12, tzinfo=UTC), 23.44, 0) == pytest.approx(
        90, abs=1
    )
    # at midnight by 0.2 degrees less than at the pole, which the library takes for this latitude
    assert sun_elevation(datetime(2024, 6, 20, 0, tzinfo=UTC), 89.8, 0) == pytest.approx(
        23.24, abs=0.1
    )
    assert sun_elevation(datetime(2024, 12, 21, 0, tzinfo=UTC), 52, 0) < -50


@pytest.mark.parametrize(
    ("elevation", "word"),
    [(40, "day"), (-0.8, "day"), (-0.9, "twilight"), (-5.9, "twilight"), (-6.1, "night")],
)
def test_day_and_night(elevation, word):
    assert day_or_night(elevation) == word


@pytest.mark.parametrize(
    ("name", "place", "inland", "near"),
    [
        ("North Sea", (54.0, 2.5), False, False),
        ("Lowestoft harbour", (52.473, 1.75), False, True),
        ("Hook of Holland", (51.95, 4.05), False, True),
        ("Sognefjord", (61.15, 6.5), False, True),
        ("Plymouth", (50.36, -4.14), False, True),
        ("Madrid", (40.4, -3.7), True, True),
        ("Berlin", (52.52, 13.4), True, True),
        ("mid Pacific, 180 W", (0.0, -180.0), False, False),
        ("mid Pacific, 180 E", (0.0, 180.0), False, False),
        ("South Pole", (-90.0, 0.0), True, True),
        ("North Pole", (90.0, 0.0), False, False),
    ],
)
def test_land_and_sea(name, place, inland, near):
    assert (is_inland([place])[0], is_near_land([place])[0]) == (inland, near), name


def test_nothing_is_asked_of_nothing():
    assert position_flags([]) == []
    assert len(is_inland([])) == 0


def test_a_ship_under_way_has_no_flags():
    places = [(54 + 0.003 * i, 2.5) for i in range(60)]  # 11 knots
    assert position_flags(track(*places)) == [()] * 60


def test_minutes_without_a_fix():
    assert position_flags(track((54, 2.5), None, (54, 2.5))) == [(), ("no_position",), ()]


def test_a_spike_is_flagged_alone():
    places = [(54 + 0.003 * i, 2.5) for i in range(9)]
    places[4] = (55.0, 2.5)
    assert [i for i, f in enumerate(position_flags(track(*places))) if f] == [4]


def test_a_position_that_is_written_once_a_bin_is_no_jump_at_the_next():
    places = [(54 + 0.027 * (i // 10), 2.5) for i in range(60)]  # 10 knots
    assert position_flags(track(*places)) == [()] * 60


def test_a_jump_that_lasts_is_flagged_once():
    places = [(54.0, 2.5)] * 4 + [(56.0, 2.5)] * 4
    assert [i for i, f in enumerate(position_flags(track(*places))) if "position_jump" in f] == [4]


def test_a_ship_may_go_far_while_nothing_is_recorded():
    assert position_flags(track((54, 2.5), (54.3, 2.5), step=120)) == [(), ()]


def test_a_jump_inside_a_minute():
    assert position_flags([Fix(START, (54, 2.5), (55, 2.5))] * 1) == [()]  # nothing to trust yet
    here = track((54.0, 2.5), (54.0, 2.5))
    leap = Fix(START + timedelta(minutes=2), (54.0, 2.5), (55.0, 2.5))
    assert position_flags([*here, leap])[-1] == ("position_jump",)


def test_a_place_on_land():
    assert position_flags(track((52.52, 13.4)))[0] == ("on_land",)


@pytest.mark.parametrize(
    ("place", "minutes", "flags"),
    [
        ((52.473, 1.75), 40, ("stands_still",)),  # in the harbour of Lowestoft
        ((52.473, 1.75), 20, ()),
        ((54.0, 2.5), 40, ()),  # on station
    ],
)
def test_standing_still_counts_near_land_only(place, minutes, flags):
    assert position_flags(track(*[place] * minutes)) == [flags] * minutes


def test_every_flag_has_a_meaning_and_codes():
    assert set(POSITION_FLAGS) == set(POSITION_CODES)

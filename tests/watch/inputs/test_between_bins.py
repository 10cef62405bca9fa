"""What one model leaves to the next: whole bins, with what lies beside their images."""

import pytest

from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.inputs.between_bins import (
    LATE_S,
    LONGEST_S,
    QUIET_S,
    ModelChanged,
    NextModel,
)

FIRST, SECOND = "1450/RawImages/pia7.2024-06-24.1450", "1500/RawImages/pia7.2024-06-24.1500"


class Waiting:
    """A queue that notes what is put back, and for how long."""

    def __init__(self):
        self.later_s = {}

    def later(self, candidate, seconds):
        self.later_s[candidate.name] = seconds


class World:
    def __init__(self):
        self.now = 100.0
        self.waits = False
        self.waiting = Waiting()
        self.model = NextModel(lambda: self.waits, lambda: self.now)

    def take(self, *names):
        self.waiting.later_s.clear()
        mine = self.model.divide([InputVersion(n, "1", None) for n in names], self.waiting)
        return [candidate.name for candidate in mine]

    def changes(self, *names):
        with pytest.raises(ModelChanged):
            self.take(*names)
        return self.model.taken


@pytest.fixture
def world():
    return World()


def image(of, number):
    return f"{of}+N{number:08d}.tif"


def test_without_another_model_all_is_taken(world):
    names = [image(FIRST, 1), "a.tif", "b.tar", image(SECOND, 1), "1450/HitsMisses.txt"]
    assert world.take(*names) == names
    assert not world.waiting.later_s
    assert not world.model.taken


def test_the_bin_in_work_is_finished_and_the_next_one_waits(world):
    world.take(image(FIRST, 1))
    world.waits = True
    beside = "1450/HitsMisses.txt"
    mine = [image(FIRST, 2), beside]
    left = [image(SECOND, 1), "1500/HitsMisses.txt", "loose.tif", "1510.tar"]
    assert world.take(*mine, *left) == mine
    assert world.waiting.later_s == dict.fromkeys(left, LATE_S)
    world.now += LATE_S - 1
    assert world.take(image(FIRST, 3)) == [image(FIRST, 3)]  # a late one
    world.now += LATE_S
    assert world.changes(*left)
    assert world.waiting.later_s == dict.fromkeys(left, LATE_S)


def test_where_nothing_else_comes_a_bin_has_time(world):
    world.take(image(FIRST, 1))
    world.waits = True
    world.now += QUIET_S - 1
    assert world.take() == []
    world.now += 1
    assert world.changes()


def test_where_no_bin_is_in_work_it_changes_at_once(world):
    world.take("a.tif", "1440.tar")
    world.waits = True
    assert world.changes()


def test_a_model_that_goes_back_before_it_is_taken_changes_nothing(world):
    world.take(image(FIRST, 1))
    world.waits = True
    assert world.take(image(SECOND, 1)) == []
    world.waits = False
    world.now += LONGEST_S + 1
    assert world.take(image(SECOND, 1)) == [image(SECOND, 1)]
    world.waits = True  # the wait begins anew
    assert world.take(image(SECOND, 2)) == [image(SECOND, 2)]


def test_a_bin_without_an_end_is_divided(world):
    world.take(image(FIRST, 1))
    world.waits = True
    begun = world.now
    number = 1
    while world.now - begun <= LONGEST_S:
        number += 1
        assert world.take(image(FIRST, number))
        world.now += 60
    assert world.changes(image(FIRST, number + 1))

"""Who is let in, who is told to come again, and when all have left."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from pi10_classifier.api.server.admission import LONGEST_RETRY_S, AdmissionLimit, Full


def test_no_more_than_the_limit_are_inside_and_a_place_is_free_again():
    gate = AdmissionLimit(2, 1)
    with gate.pass_through():
        with gate.pass_through(), pytest.raises(Full, match="2 requests") as full:
            gate.pass_through().__enter__()
        assert full.value.code == "full"
        with gate.pass_through():
            assert gate.inside == 2
    assert gate.inside == 0


def test_a_place_is_given_back_by_who_fails():
    gate = AdmissionLimit(1, 1)
    with pytest.raises(ValueError, match="x"), gate.pass_through():
        raise ValueError("x")
    assert gate.inside == 0


def test_the_wait_told_grows_with_the_work_and_stays_within_bounds():
    gate = AdmissionLimit(100, 2)
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(gate.pass_through())
        told = gate.retry_after
        for _ in range(50):
            gate.took(0.01)
        assert 1 <= gate.retry_after < told
        for _ in range(200):
            gate.took(500)
        assert gate.retry_after == LONGEST_RETRY_S


def test_draining_lets_nobody_in_and_waits_for_those_inside():
    async def test() -> None:
        gate = AdmissionLimit(5, 1)
        with ExitStack() as stack:
            stack.enter_context(gate.pass_through())
            draining = asyncio.create_task(gate.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(Full) as full:
                gate.pass_through().__enter__()
            assert full.value.code == "stopping"
            assert not draining.done()
        assert await draining

    asyncio.run(test())


def test_draining_ends_with_its_grace():
    async def test() -> None:
        gate = AdmissionLimit(5, 1)
        with gate.pass_through():
            assert not await gate.drain(0.05)

    asyncio.run(test())

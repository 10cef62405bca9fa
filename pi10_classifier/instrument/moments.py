"""Moments of capture as text: ISO 8601 in UTC, to the second or to the minute."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache


@lru_cache(maxsize=1024)  # hundreds of particles pass in a second
def moment(when: datetime) -> str:
    """ISO 8601 to the second. Not strftime, which pads years below 1000 on some systems only."""
    return f"{when.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


@lru_cache(maxsize=1024)
def minute(when: datetime | None) -> str:
    """The start of its minute, as ``2024-06-24T14:50:00Z``; "" if None."""
    return f"{when.replace(tzinfo=None).isoformat(timespec='minutes')}:00Z" if when else ""

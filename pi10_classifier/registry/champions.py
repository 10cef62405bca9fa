"""Which version is in service, and the record of each change of it.

The version in service holds the alias ``champion``. Each change is a tag of the registered model,
``pi10.change.TIME``, with who, when and why; so the version before is known, and no record is lost
where two people act. The tag is written first and the alias set last: a change that was cut between
the two is known by the alias, which is still the old one, and counts as not done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.redaction import scrub, secrets_of
from pi10_classifier.registry.client import ModelVersion, RegisteredModel, Registry
from pi10_classifier.registry.reference import ModelReference
from pi10_classifier.registry.register import user_name

CHAMPION = "champion"
CHANGE_TAG = "pi10.change."
PROMOTE, ROLLBACK = "promote", "rollback"
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the champion. at: ISO 8601 in UTC. before: version, "" for none.

    figures: of the comparison that allowed a promotion.
    """

    at: str
    act: str
    before: str
    after: str
    by: str
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def cells(self) -> tuple[str, ...]:
        return self.at, self.act, self.before or "none", self.after, self.by, self.why


def changes_of(model: RegisteredModel) -> list[Change]:
    """All recorded changes of the champion, the oldest first; unreadable tags are left out."""
    changes = []
    for key, value in sorted(model.tags.items()):
        if key.startswith(CHANGE_TAG):
            try:
                changes.append(Change(**json.loads(value)))
            except (ValueError, TypeError):
                continue
    return changes


def champions(model: RegisteredModel) -> list[str]:
    """The versions that led to the present champion, which is the last; [] without one.

    A promotion adds a version, a rollback takes one away. An alias that was set by hand counts as a
    promotion.
    """
    held = model.aliases.get(CHAMPION, "")
    changes = changes_of(model)
    if changes and changes[-1].after != held and changes[-1].before == held:
        changes.pop()  # recorded, but cut before the alias was set
    stack: list[str] = []
    for change in changes:
        _reach(stack, change.before)
        if change.act == ROLLBACK:
            stack.pop()
        _reach(stack, change.after)
    _reach(stack, held)
    return stack if held else []


def _reach(stack: list[str], version: str) -> None:
    if version and (not stack or stack[-1] != version):
        stack.append(version)


def last_test_set(model: RegisteredModel) -> str:
    """SHA-256 of the test images of the last promotion that names them; "" if none does."""
    known = (change.figures.get("test_sha256", "") for change in reversed(changes_of(model)))
    return str(next(filter(None, known), ""))


def promote(
    registry: Registry,
    version: ModelVersion,
    *,
    by: str = "",
    why: str = "",
    figures: Mapping[str, Any] | None = None,
    instead_of: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Change | None:
    """Make a version the champion; None if it is already. The comparison is the caller's.

    instead_of: the version that it was compared with, "" for none. Raises SettingError if another
    one is the champion by now.
    """
    held = registry.model(version.name).aliases.get(CHAMPION, "")
    if instead_of is not None and held not in (instead_of, version.version):
        raise SettingError(
            f"{version} was compared with version {instead_of or '(none)'}, but version"
            f" {held or '(none)'} is the champion by now; compare again"
        )
    return _change(registry, version.name, PROMOTE, version.version, by, why, figures, environ)


def rollback(
    registry: Registry,
    name: str,
    *,
    by: str = "",
    why: str = "",
    environ: Mapping[str, str] = os.environ,
) -> Change:
    """Give the alias back to the champion before. Raises SettingError if there was none."""
    line = champions(registry.model(name))
    if len(line) < 2:
        held = f"version {line[0]}, the first one" if line else "none"
        raise SettingError(
            f"{name} has no earlier champion (now: {held}); promote a version by"
            " `pi10 models promote`"
        )
    registry.version(ModelReference(name, version=line[-2]))  # it may have been deleted
    change = _change(registry, name, ROLLBACK, line[-2], by, why, None, environ)
    if change is None:
        raise SettingError(f"{name} has version {line[-2]} as champion by now; look at `show`")
    return change


def check_free_alias(alias: str) -> None:
    """Raise SettingError for the alias that only a promotion may give."""
    if alias == CHAMPION:
        raise SettingError(
            f"--alias {CHAMPION} is given by `pi10 models promote` alone, which compares first;"
            " register as candidate"
        )


def _change(
    registry: Registry,
    name: str,
    act: str,
    after: str,
    by: str,
    why: str,
    figures: Mapping[str, Any] | None,
    environ: Mapping[str, str],
) -> Change | None:
    before = registry.model(name).aliases.get(CHAMPION, "")
    if before == after:
        return None
    secrets = secrets_of(environ)
    now = datetime.now(UTC)
    change = Change(
        f"{now:%Y-%m-%dT%H:%M:%SZ}", act, before, after, scrub(by or user_name(), secrets)[:200],
        scrub(why, secrets)[:_LONGEST], dict(figures or {}),
    )  # fmt: skip
    text = json.dumps(change.to_dict(), ensure_ascii=False)
    # microseconds: two changes in a second are two records, in their order
    registry.tag_model(name, f"{CHANGE_TAG}{now:%Y%m%dT%H%M%S.%fZ}", text)
    registry.set_alias(name, CHAMPION, after)
    return change

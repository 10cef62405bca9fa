"""Checks of a scan: which files are left out, and which classes must have images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pi10_classifier.datasets.duplicates import contradictions
from pi10_classifier.datasets.label_map import LEFT_OUT, LabelMap
from pi10_classifier.datasets.records import Entry, LeftOut, Sample
from pi10_classifier.datasets.taxa.taxon_map import TaxonMap
from pi10_classifier.errors import Code, SettingError

_NAMED = 20  # labels or classes in one message


def lost_label(
    entry: Entry, group: str | None, label_map: LabelMap | None = None
) -> LeftOut | None:
    """Why a file is left out for its label; None if it is not."""
    if isinstance(label_map, TaxonMap) and group in (LEFT_OUT, None):
        decision = label_map.decide(entry.label)
        code, message = decision.code, f"label {entry.label!r}: {decision.note or decision.rule}"
    elif group == LEFT_OUT:
        code, message = Code.LABEL_LEFT_OUT, f"label {entry.label!r} is '-' in the label map"
    elif group is None:
        code, message = (
            Code.UNKNOWN_LABEL,
            f"label {entry.label!r} matches no line of the label map; add one, or '-'",
        )
    elif not group:
        code, message = (
            Code.UNKNOWN_LABEL,
            "no label: the file lies in no folder; move it into one named as its class",
        )
    else:
        return None
    return LeftOut(entry.source, entry.member, code.value, message)


def of_no_class(entry: Entry) -> LeftOut:
    """Leave out a particle of a run whose label is not a class, such as an artefact."""
    message = f"label {entry.label!r} is not a class of a model; a label map can give it one"
    return LeftOut(entry.source, entry.member, Code.NO_CLASS.value, message)


def repeated(entry: Entry) -> LeftOut:
    """Leave out the later of two files with the same name; reading again finds the first one."""
    message = "the name occurs before in this source; the first was used"
    return LeftOut(entry.source, entry.member, Code.REPEATED_NAME.value, message)


def contradicted(entry: Entry | Sample, group: str | None, other: str | None) -> LeftOut:
    """Leave out a file that a table lists under two classes, as it is unknown which is right."""
    message = f"listed as {group!r} and as {other!r}; keep the right one"
    return LeftOut(entry.source, entry.member, Code.MISLABELLED.value, message)


def mislabelled(samples: Sequence[Sample]) -> dict[int, LeftOut]:
    """Indices of samples whose bytes are labelled with two classes -> index of the other sample."""
    other = contradictions([s.sha256 for s in samples], [s.group for s in samples])
    twins = {}
    for place, twin in ((at, samples[i]) for at, i in other.items()):
        s = samples[place]
        message = (
            f"is {s.group!r} here, and {twin.group!r} as {twin.source}: {twin.member};"
            f" keep the right one"
        )
        twins[place] = LeftOut(s.source, s.member, Code.MISLABELLED.value, message)
    return twins


def of_input(path: Path, origins: Mapping[str, Path]) -> set[str]:
    """Names of the sources at or under an input."""
    return {name for name, at in origins.items() if at == path or path in at.parents}


def check_inputs_used(
    inputs: Iterable[Path],
    origins: Mapping[str, Path],
    samples: Iterable[Sample],
    left_out: Sequence[LeftOut],
) -> None:
    """Raise SettingError if an input has no usable image.

    An archive inside a folder may give none; a damaged one among hundreds is only listed.
    """
    used = {s.source for s in samples}
    for path in inputs:
        sources = of_input(path, origins)
        if sources & used:
            continue
        lost = [x for x in left_out if x.source in sources]
        why = ", ".join(f"{n} {code}" for code, n in Counter(x.code for x in lost).items())
        lost.sort(key=lambda x: not x.failed)  # files that the user did not leave out come first
        first = f"; first: {lost[0].member or path.name}: {lost[0].message}" if lost else ""
        raise SettingError(
            f"{path} has no usable image (left out: {why or 'none'}{first}); put images into"
            " folders named after their class, or list them in a table with the columns path"
            " and label"
        )


def check_classes(
    classes: Sequence[str],
    lost: Mapping[str, LeftOut],
    label_map: LabelMap | None,
    left_out: Iterable[LeftOut],
) -> None:
    """Raise SettingError if a class has no image.

    lost: class -> one of its files that were left out.
    """
    emptied = sorted(set(lost) - set(classes))
    if emptied:
        first = lost[emptied[0]]
        raise SettingError(
            f"class {_names(emptied)} has no usable image; its files were left out, such as"
            f" {first.source}: {first.member}: {first.message}; repair them, or leave the"
            " label out (class '-' in a label map)"
        )
    if isinstance(label_map, TaxonMap) and label_map.shipped:
        return  # the command tells which of its classes have no image
    empty = sorted(set(label_map.classes) - set(classes)) if label_map else []
    if empty:
        unknown = {x.member.rpartition("/")[0] for x in left_out if x.code == Code.UNKNOWN_LABEL}
        raise SettingError(
            f"the label map leaves class {_names(empty)} empty, as none of its labels occurs"
            + (f"; labels without a line: {', '.join(sorted(unknown)[:_NAMED])}" if unknown else "")
        )


def _names(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return ", ".join(map(repr, classes[:_NAMED])) + more

"""Sums of what is unlike training, over the rows of bins.csv."""

from __future__ import annotations

from pi10_classifier.report.unlike import SHOWN, UnlikeTraining


def row(name: str, label: str, count: str, flagged: str | None) -> dict[str, str]:
    told = {} if flagged is None else {"unlike_training": flagged}
    return {"bin": name, "label": label, "count": count, **told}


def test_a_table_without_the_column_tells_nothing() -> None:
    unlike = UnlikeTraining()
    unlike.add(row("a", "copepod", "10", None))
    unlike.end()
    assert not unlike.told


def test_bins_are_ranked_by_share_and_blank_images_left_out() -> None:
    unlike = UnlikeTraining()
    for number in range(9):
        unlike.add(row(f"b{number}", "copepod", "80", str(number)))
        unlike.add(row(f"b{number}", "no_particle", "500", "0"))
        unlike.add(row(f"b{number}", "detritus", "20", "1"))
    unlike.add(row("small", "copepod", "9", "9"))
    unlike.end()
    assert unlike.told
    assert (unlike.run.images, unlike.run.flagged) == (9 * 100 + 9, 36 + 9 + 9)
    assert [part.name for part in unlike.most] == [f"b{8 - i}" for i in range(SHOWN)]
    assert unlike.most[0].share == 0.09


def test_damaged_cells_do_no_harm() -> None:
    unlike = UnlikeTraining()
    for flagged in ("nan", "", "x", "inf"):
        unlike.add(row("a", "copepod", "10", flagged))
    unlike.add(row("a", "copepod", "x", "1"))
    unlike.end()
    assert (unlike.run.images, unlike.run.flagged, unlike.most) == (0, 1, [])

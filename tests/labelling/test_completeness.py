"""Labels that are no sample of their stratum: refused, or not for publishing."""

from __future__ import annotations

from pi10_classifier.labelling.estimation.completeness import incomplete
from pi10_classifier.labelling.estimation.estimate import correct_strata
from pi10_classifier.labelling.labels import Verdicts
from pi10_classifier.labelling.sample import Design, Drawn, Totals

CLASSES = ("copepod", "detritus")


def particle(order: int, factor: float, *, certain: bool = False) -> Drawn:
    return Drawn(
        order=order, particle_id=f"p{order}", stratum="all", predicted="copepod", source="a.tar",
        member=f"{order}.tif", bin="b", datetime="", raising_factor=factor, certain=certain,
        probability=1.0, part="0", row=order, scores={},
    )  # fmt: skip


# 20 particles of large factor, drawn for certain and all copepods; 150 of factor 1, all detritus
SAMPLE = [particle(n, 40.0, certain=True) for n in range(20)] + [
    particle(n, 1.0) for n in range(20, 170)
]
TRUTH = {its.particle_id: "copepod" if its.certain else "detritus" for its in SAMPLE}
TOTALS = {"copepod": Totals(820, 20 * 40.0 + 800, 20 * 1600.0 + 800, 40.0, 170)}
DESIGN = Design(0, 170, "cruise", "", {"all": TOTALS})


def verdicts(names: list[str]) -> Verdicts:
    return Verdicts({name: TRUTH[name] for name in names}, ())


def test_all_labels_give_the_truth() -> None:
    rows = correct_strata(DESIGN, SAMPLE, verdicts([*TRUTH]), CLASSES, {"all": 100.0})
    found = {row.label: row for row in rows}
    assert found["copepod"].per_litre == 8.0 and found["copepod"].publishable
    assert found["detritus"].per_litre == 8.0


def test_labels_of_a_smaller_draw_do_not_stand_for_what_is_certain_in_a_larger_one() -> None:
    """Without their labels the large ones would be taken for what the small ones are."""
    known = verdicts([its.particle_id for its in SAMPLE if not its.certain or its.order < 10])
    refusal, _ = incomplete(TOTALS, SAMPLE, known)
    assert refusal.startswith("10 particles that were drawn for certain")
    for row in correct_strata(DESIGN, SAMPLE, known, CLASSES, {"all": 100.0}):
        assert row.per_litre is None and not row.publishable and row.note == refusal


def test_labels_in_another_order_are_not_published() -> None:
    names = [its.particle_id for its in SAMPLE if its.certain or its.order >= 60]
    assert incomplete(TOTALS, SAMPLE, verdicts(names))[1].startswith("40 particles without a label")
    rows = correct_strata(DESIGN, SAMPLE, verdicts(names), CLASSES, {"all": 100.0})
    assert all(row.per_litre is not None and not row.publishable for row in rows)
    few = [its.particle_id for its in SAMPLE if its.order not in (30, 40, 50)]
    assert incomplete(TOTALS, SAMPLE, verdicts(few)) == ("", "")

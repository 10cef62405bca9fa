"""The kinds of particles that can be drawn for each of the three classes, with their shares."""

from __future__ import annotations

from collections.abc import Callable

from pi10_classifier.simulate import animals, copepods, detritus
from pi10_classifier.simulate.pen import Particle, Pen, Rng

# label -> (kind, function that draws it, share of the class)
KINDS: dict[str, tuple[tuple[str, Callable[[Pen], None], float], ...]] = {
    "copepod": (
        ("calanoid", copepods.calanoid, 0.4),
        ("compact calanoid", copepods.compact, 0.35),
        ("cyclopoid", copepods.cyclopoid, 0.25),
    ),
    "noncopepod": (
        ("chaetognath", animals.chaetognath, 0.14),
        ("medusa", animals.medusa, 0.1),
        ("bell", animals.bell, 0.07),
        ("appendicularian", animals.appendicularian, 0.12),
        ("pluteus", animals.pluteus, 0.06),
        ("doliolid", animals.doliolid, 0.06),
        ("polychaete", animals.polychaete, 0.05),
        ("fish larva", animals.fish_larva, 0.05),
        ("cladoceran", animals.cladoceran, 0.1),
        ("nauplius", animals.nauplius, 0.06),
        ("decapod larva", animals.decapod, 0.08),
        ("amphipod", animals.amphipod, 0.04),
        ("egg", animals.egg, 0.04),
        ("veliger", animals.veliger, 0.03),
    ),
    "detritus": (
        ("aggregate", detritus.aggregate, 0.35),
        ("fibre", detritus.fibre, 0.15),
        ("pellet", detritus.pellet, 0.15),
        ("smudge", detritus.smudge, 0.15),
        ("grain", detritus.grain, 0.1),
        ("tangle", detritus.tangle, 0.1),
    ),
}


def draw(label: str, rng: Rng, length: int = 128) -> Particle:
    """Draw one particle of class ``label``, its body ``length`` px long."""
    kinds = KINDS[label]
    pick = rng.choice(len(kinds), p=[share for _, _, share in kinds])
    kind, draw_kind, _ = kinds[int(pick)]
    pen = Pen(length, rng)
    draw_kind(pen)
    brown = rng.uniform(0.0, 0.25) if label == "detritus" else rng.uniform(0.0, 0.05)
    # blur removes the finest lines first, as in the instrument's own images
    blur = float(rng.choice((0.0, 0.004, 0.008, 0.016), p=(0.3, 0.3, 0.3, 0.1)))
    return pen.finish(label, kind, blur, (1.0 - brown, 1.0 - brown / 2, 1.0))

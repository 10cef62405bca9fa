"""The life stages that rules can name, and other forms of the same words."""

from __future__ import annotations

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.table import folded

LIFE_STAGES = {
    "": ("unspecified", "unknown", "not specified", "na", "nan", "mixed", "all"),
    "adult": ("adults", "female", "females", "male", "males", "mature"),
    "copepodite": ("copepodites", "copepodid", "copepodids"),
    "juvenile": ("juveniles", "immature", "subadult", "post-larva", "postlarva"),
    "nauplius": ("nauplii", "naupliar"),
    "metanauplius": ("metanauplii",),
    "egg": ("eggs", "egg sac", "embryo", "embryos", "ovum"),
    "larva": (
        *("larvae", "larval", "zoea", "zoeae", "megalopa", "megalopae", "cypris", "cyprids"),
        *("calyptopis", "furcilia", "veliger", "veligers", "trochophore", "trochophores"),
        *("pluteus", "plutei", "bipinnaria", "brachiolaria", "auricularia", "cyphonautes"),
        *("actinotroch", "actinotrocha", "mitraria", "nectochaete", "planula", "ephyra", "ephyrae"),
    ),
    "cyst": ("cysts", "resting stage"),
    "colony": ("colonies", "chain", "chains"),
}
_STAGES = {form: stage for stage, forms in LIFE_STAGES.items() for form in (stage, *forms)}


def stage_of(text: str) -> str:
    """A life stage as the rules name it; "" where it is unspecified. Raises SettingError."""
    stage = known_stage(text)
    if stage is None:
        raise SettingError(
            f"life stage {text!r} is none of {', '.join(stage for stage in LIFE_STAGES if stage)}; "
            "correct it, leave it empty, or name it in a rule"
        )
    return stage


def known_stage(text: str) -> str | None:
    """As ``stage_of``; None for a word that is no known stage."""
    return _STAGES.get(folded(text.replace("_", " ")))

"""What a flag of an image, a minute or a bin means, in a few words for the report."""

from __future__ import annotations

from pi10_classifier.abundance.quality import FLAGS

# docs/results.md says more of each
OF_PARTICLES = {
    "touches_border": "the edge of the image cuts the particle: sizes are lower bounds",
    "no_silhouette": "there is nothing to measure",
    "objects": "several particles in the image: the largest is measured",
    "no_datetime": "the file gives no time",
    "clock_outside_bin": "the time is not in the bin that the name gives",
    "multi_page": "the file has several pages: the first was used",
    "over_range": "samples of a 12-bit image are above 4095",
    "resolution": "the file gives another pixel size than the measurement used",
    "below_threshold": "the score is below the model's threshold for this class",
    "unlike_training": "unlike the model's training images",
}


def meaning_of(flag: str) -> str:
    """In words, for a flag with or without its ``=value``; empty for an unknown one."""
    name = flag.partition("=")[0]
    known = FLAGS.get(name)
    return OF_PARTICLES.get(name) or (known.meaning if known else "")

"""``pi10 export``: model packages for other uses, and results for those who publish them."""

from __future__ import annotations

import click

from pi10_classifier.cli.export import crate, labels, packages, publish, track
from pi10_classifier.cli.export.ecotaxa import ecotaxa
from pi10_classifier.cli.export.netcdf import netcdf
from pi10_classifier.cli.export.reference import reference


@click.group()
def export() -> None:
    """Write a model package from others, or the results of a run in a format to publish.

    \b
    Model packages:  onnx, int8, cascade, novelty, reference, replay
    Results:         init (who made them, under which licence), then dwca, netcdf, ecotaxa, crate
    Without init:    track (GeoJSON, GeoParquet)
    Labelled images: labels
    """


for command in (
    packages.int8, packages.cascade, packages.onnx, packages.novelty, packages.replay, reference,
    publish.init, publish.dwca, netcdf, ecotaxa, crate.crate, labels.labels, track.track,
):  # fmt: skip
    export.add_command(command)

"""The report's size spectrum."""

import csv
from datetime import timedelta

import numpy as np
import pytest
from report_folder import COUNTS, START, after

from pi10_classifier.report.particle_stats import read_images
from pi10_classifier.report.spectrum import Spectra


def test_sizes_that_are_no_sizes_are_left_out(out):
    sizes = [None, float("nan"), float("inf"), -1.0, 0.0, 250.0, 1e9, 1e-9]
    text = out.part(["copepod"] * 8, esd_um=sizes).counts(1).write().text("sizes")
    assert "5 images have no size" in text and "180 µm to 3.5 cm" in text


def test_spectra_are_raised_by_minute(out):
    """Slope and biovolume of two minutes whose factors differ, against sums over single images."""
    rng = np.random.default_rng(0)
    esd = 180 * np.exp(rng.exponential(1 / 3, 4000))  # slope -1
    minute = np.where(rng.random(4000) < np.where(esd > 250, 0.8, 0.2), 0, 1)
    when = [START + timedelta(minutes=int(m)) for m in minute]
    out.part(["copepod"] * 4000, esd_um=esd, datetime=when)
    hits = np.bincount(minute)
    rows = [
        ("b0000", after(minutes=m), "copepod", n, n, 9 * n * m, 1, 34, 1, 1, 1, n, "41"[m == 0], "")
        for m, n in enumerate(hits.tolist())
    ]
    out.rows("counts.csv", COUNTS, rows)
    spectra = Spectra()
    with (out.folder / "counts.csv").open() as stream:
        for row in csv.DictReader(stream):
            spectra.add_minute(row)
    read_images(out.folder / "predictions.parquet", ["copepod"], spectra)
    found = spectra.by_class(["copepod"])["copepod"]
    weight = np.where(minute == 0, 1.0, 10.0)
    x = 3 * np.log(esd.astype(np.float32).astype(float) / 180)
    assert found.fitted.slope == pytest.approx(-weight.sum() / (weight * x).sum(), rel=0.02)
    for row in found.rows:
        volume = np.pi / 6 * esd**3 * 1e-9
        inside = (volume >= row.volume_from_mm3) & (volume < row.volume_to_mm3)
        biovolume = (weight * volume)[inside].sum() / 0.068
        assert row.normalised_biovolume == pytest.approx(biovolume / row.volume_from_mm3, rel=1e-5)
    assert found.good.slope > found.fitted.slope  # the bad minute holds the small ones
    text = out.write().text("sizes")
    assert f"{found.fitted.slope:.2f}" in text and "Slope without bad minutes" in text


def test_without_hits_and_misses_there_is_no_spectrum(out):
    page = out.part(["copepod"] * 20).counts(1, density=False).write()
    assert "No minute has a density, so there is no spectrum" in page.text("sizes")
    assert not page.images("sizes")

"""Elyra, step 2: draw a sample for people to label, and take in the labels of ``LABELS``.

``LABELS`` is a CSV of particle_id,label, or an export of EcoTaxa or Label Studio. Without it the
pipeline ends here: label ``sample.zip`` in EcoTaxa, set LABELS to its export, and run the
pipeline again. The same seed draws the same sample, so the labels fit.
``SAMPLE`` (300) particles are drawn. Writes ``validated.tar``.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path


def pi10(*words: str) -> None:
    command = [sys.executable, "-m", "pi10_classifier", *words]
    if code := subprocess.run(command, check=False).returncode:  # noqa: S603
        sys.exit(code)


if not Path("results").is_dir():
    with tarfile.open("results.tar") as tar:
        tar.extractall(filter="data")  # the archive of the step before
pi10("validate", "draw", "results", "--n", os.environ.get("SAMPLE") or "300")
labels = os.environ.get("LABELS", "").strip()
if not labels:
    pi10("validate", "export", "results", "--format", "ecotaxa", "--out", "sample.zip")
    sys.exit("LABELS is not set: label sample.zip in EcoTaxa, set LABELS to its export, and rerun")
pi10("validate", "import", "results", labels)
with tarfile.open("validated.tar", "w") as tar:
    tar.add("results")

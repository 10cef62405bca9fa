"""Elyra, step 4: export for EcoTaxa, and for OBIS as a Darwin Core Archive.

``DATASET`` is the filled-in file of `pi10 export init`: who, where, which licence. Without it the
pipeline ends here, with a file to fill in, ``dataset.toml``. Writes ``ecotaxa.zip``, ``dwca.zip``.
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


if not Path("results/validation/corrected.csv").is_file():
    with tarfile.open("corrected.tar") as tar:
        tar.extractall(filter="data")  # the archive of the step before
dataset = os.environ.get("DATASET", "").strip()
if not dataset:
    if not Path("dataset.toml").is_file():
        pi10("export", "init", "dataset.toml")
    sys.exit("DATASET is not set: fill in dataset.toml, set DATASET to it, and rerun")
for what in ("ecotaxa", "dwca"):
    pi10("export", what, "results", "--dataset", dataset, "--out", f"{what}.zip", "--overwrite")

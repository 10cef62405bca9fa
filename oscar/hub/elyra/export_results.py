"""Elyra, step 4: export for EcoTaxa, and with ``DATASET`` for OBIS.

``DATASET`` is the filled-in file of `pi10 export init`. Writes ``ecotaxa.zip``; with DATASET also
``dwca.zip``.
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
pi10("export", "ecotaxa", "results", "--out", "ecotaxa.zip", "--overwrite")
if dataset := os.environ.get("DATASET", "").strip():
    pi10("export", "dwca", "results", "--dataset", dataset, "--out", "dwca.zip", "--overwrite")

"""Elyra, step 1: classify ``INPUTS`` (files, folders or s3:// addresses, one a line).

Settings are environment variables: ``INPUTS``; ``MODEL`` (starter). Writes ``results.tar``.
"""

import os
import shutil
import subprocess
import sys
import tarfile

inputs = [line.strip() for line in os.environ.get("INPUTS", "").splitlines() if line.strip()]
if not inputs:
    sys.exit("INPUTS is empty; name files, folders or s3:// addresses, one a line")
shutil.rmtree("results", ignore_errors=True)
command = [sys.executable, "-m", "pi10_classifier", "classify", *inputs, "--out", "results",
           "--model", os.environ.get("MODEL") or "starter"]  # fmt: skip
code = subprocess.run(command, check=False).returncode  # noqa: S603
if code not in (0, 3):  # 3: some images failed, and failures.csv names them
    sys.exit(code)
with tarfile.open("results.tar", "w") as tar:
    tar.add("results")

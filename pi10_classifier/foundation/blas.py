"""Keeps NumPy's matrix library to one thread, where that saves time."""

from __future__ import annotations

import os


def keep_blas_single() -> None:
    """Let BLAS start no threads in this process; to be called before numpy is imported.

    Classifying multiplies no matrices, and starting the threads costs 40 ms. A user's own setting
    stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

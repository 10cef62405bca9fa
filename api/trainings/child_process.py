"""Runs ``pi10 train`` in a process that ends when its server ends.

Run as ``python -m pi10_classifier.api.trainings.child_process train ...``. Standard input is a
pipe that the server holds open. When it closes, even because the server was killed, this process
ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from typing import NoReturn

GRACE_S = 10.0


def _follow_parent() -> None:
    while os.read(0, 4096):
        pass
    # SIGTERM first, so that the training can be resumed; then end in any case
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)


def main() -> NoReturn:
    threading.Thread(target=_follow_parent, name="pi10-parent", daemon=True).start()
    runpy.run_module("pi10_classifier", run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    main()

"""What failed work of a page's run is told as."""

from __future__ import annotations

import logging

from pi10_classifier.api.client_errors import is_full, message_of, unstored
from pi10_classifier.api.server.workers import TookTooLong, WorkerDied
from pi10_classifier.errors import Pi10Error

LOG = logging.getLogger("pi10.page")


def told(error: Exception, remedy: str = "leave out some files") -> dict[str, str]:
    """Code and message. remedy: for work that its worker process died over."""
    if isinstance(error, Pi10Error):
        return {"code": error.code.value, "message": message_of(error)}
    if isinstance(error, OSError) and is_full(error):
        problem = unstored(error)
        return {"code": problem.code.value, "message": problem.message}
    if isinstance(error, TookTooLong):
        return {"code": "took_too_long", "message": str(error)}
    if isinstance(error, WorkerDied):
        return {"code": "worker_died", "message": f"{error}; {remedy}"}
    LOG.error("page run failed", exc_info=error)
    return {"code": "internal", "message": "a defect of this service; please report it"}

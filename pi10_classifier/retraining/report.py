"""The report of a round: JSON for programs, and one self-contained page for the one who decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.foundation.files import write_atomically

JSON, PAGE = "report.json", "report.html"

MEANINGS = {
    "waiting": "There is nothing to train yet.",
    "candidate": "There is a candidate. A person decides whether it replaces the champion.",
    "not_better": "The new head is not better than the champion as it is, so nothing was made.",
    "no_candidate": "The fit ended without a candidate.",
    "set_aside": "These labels are left alone, because rounds with them were killed.",
}


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.json``, and ``report.html`` where the extra [report] is installed."""
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / JSON, text.encode("utf-8", "backslashreplace"))
    try:
        page = to_page(report)
    except ImportError:
        return
    write_atomically(folder / PAGE, page.encode("utf-8", "replace"))


def to_page(report: Mapping[str, Any]) -> str:
    """The page as HTML, without external resources."""
    import jinja2

    from pi10_classifier.report.page import amount, shown

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pi10_classifier.report"), autoescape=True, trim_blocks=True
    )
    environment.undefined = jinja2.StrictUndefined
    environment.filters.update(shown=shown, amount=amount, number=lambda x: f"{x:,}")
    template = environment.get_template("retraining.html.j2")
    return template.render({"r": report, "meaning": MEANINGS[report["state"]]})

"""The command that installs an extra, from where this program itself was installed."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "pi10-classifier"


def install_command(extras: str) -> str:
    """``pip install`` with extras, such as ``serve,report``.

    pip has noted the folder or repository of the installed program (``direct_url.json``, PEP 610),
    and only there do its extras exist: the package is on no index. A folder that is gone is not
    named.
    """
    url, is_folder = _origin()
    if is_folder:
        folder = Path(unquote(urlsplit(url).path))
        if (folder / "setup.cfg").is_file():
            pins = folder / "constraints.txt"
            constraints = f"-c {shlex.quote(str(pins))} " if pins.is_file() else ""
            return f'pip install {constraints}"{folder}[{extras}]"'
    elif url:
        return f'pip install "{NAME}[{extras}] @ {url}"'
    return f'pip install -c constraints.txt ".[{extras}]" in the folder of its source'


@cache
def _origin() -> tuple[str, bool]:
    """The URL that this program was installed from, "" if unknown; and whether it is a folder."""
    # late: it is needed in error messages alone, and brings thirty modules
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        told = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return "", False
    url = str(told.get("url", ""))
    if "vcs_info" in told:
        return f"{told['vcs_info'].get('vcs', 'git')}+{url}", False
    return (url, True) if "dir_info" in told else ("", False)

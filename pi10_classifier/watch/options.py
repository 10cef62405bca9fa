"""How to watch: the settings of ``pi10 watch`` besides those of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import SettingError


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch.

    settle_s: seconds that a file must stay unchanged before it is read. rescan_s: seconds between
    scans for inputs that events have missed. summary_url: where to send the minute lines; "" for
    nowhere. until_idle: end once every input that exists is done. pictures_kb: kilobytes of
    pictures to send there in an hour. metrics_file: what Prometheus is told, through node_exporter;
    None for none. Raises SettingError for values out of range.
    """

    settle_s: float = 2.0
    rescan_s: float = 60.0
    summary_url: str = ""
    until_idle: bool = False
    pictures_kb: int = 0
    metrics_file: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.settle_s <= 3600:
            raise SettingError(f"--settle is {self.settle_s}; it must be 0 to 3600 seconds")
        if not 1 <= self.rescan_s <= 86_400:
            raise SettingError(f"--rescan is {self.rescan_s}; it must be 1 to 86400 seconds")
        if not 0 <= self.pictures_kb <= 1_000_000 or (self.pictures_kb and not self.summary_url):
            raise SettingError(f"--pictures is {self.pictures_kb}; it must be 0 to 1000000 "
                               "kilobytes an hour, and needs --summary-url")  # fmt: skip
        path = self.metrics_file
        if path and path.suffix != ".prom":
            raise SettingError(f"--metrics-file is {path}; node_exporter reads files *.prom only")
        if path and not path.parent.is_dir():
            raise SettingError(f"--metrics-file is {path}; there is no folder {path.parent}")

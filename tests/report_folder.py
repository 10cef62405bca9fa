"""A run's output folder built piece by piece, and its report as a browser takes it."""

import base64
import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pi10_classifier.report import write_report

CLASSES = ["copepod", "detritus", "noncopepod"]
TOTALS = ("inputs", "results", "failures", "skipped")
START = datetime(2024, 6, 24, 14, 54, tzinfo=UTC)
DENSITY = "raised_count,litres,per_litre,per_litre_low,per_litre_high"
COUNTS = f"bin,minute,label,count,hits,misses,{DENSITY},images,quality_l20,flags"
BINS = (
    f"bin,start,label,minutes_observed,count,{DENSITY},raised_variance,largest_factor,"
    "per_litre_sd,quality_l20,flags"
)
FAILURES = "source,member,code,message,retryable"
RUN = {
    "format": 1,
    "parameters": {"inputs": ["cruise/2024-06-24"], "batch": 64, "nested": {"deep": True}},
    "versions": {"pi10-classifier": "0.1.0"},
    "model": {"name": "toy", "version": "1", "sha256": "ab" * 32, "classes": CLASSES},
    "started": "2024-07-01T08:00:00Z",
    "seconds": 40.0,
    "images_per_second": 12.5,
    "complete": True,
}
TYPES = {
    "datetime": pa.timestamp("s", "UTC"),
    **dict.fromkeys(("latitude", "longitude"), pa.float64()),
    **dict.fromkeys(("score", "esd_um"), pa.float32()),
}


def png():
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def after(**elapsed):
    return (START + timedelta(**elapsed)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Out:
    """A run's output folder, built piece by piece."""

    def __init__(self, folder):
        self.folder = folder
        self.run = json.loads(json.dumps(RUN)) | {"totals": dict.fromkeys(TOTALS, 0)}
        (folder / "journal").mkdir(parents=True)
        (folder / "predictions.parquet").mkdir()

    def part(self, labels, name="part-0", **columns):
        n = len(labels)
        table = {
            "source": ["1454.tar"] * n,
            "instrument": ["pia7"] * n,
            "datetime": [START + timedelta(seconds=i) for i in range(n)],
            "latitude": [None] * n,
            "longitude": [None] * n,
            "label": labels,
            "score": [0.9] * n,
            "esd_um": [400.0] * n,
            "flags": [""] * n,
        } | columns
        arrays = {k: pa.array(v, TYPES.get(k)) for k, v in table.items() if v is not None}
        pq.write_table(pa.table(arrays), self.folder / "predictions.parquet" / f"{name}.parquet")
        return self.total(results=n)

    def total(self, **more):
        for name, n in more.items():
            self.run["totals"][name] += n
            self.run["totals"]["inputs"] += n
        return self

    def rows(self, name, header, rows):
        with (self.folder / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header.split(","), *rows])
        return self

    def counts(self, minutes, density=True, flags=""):
        known = (100, 900, 20, 34, 20 / 34, 10 / 34, 40 / 34) if density else ("",) * 7
        known += (100, "3" if density else "9")
        times = [(f"b{i // 10:04}", after(minutes=i)) for i in range(minutes)]
        rows = [(*time, label, 2, *known, flags) for time in times for label in CLASSES]
        return self.rows("counts.csv", COUNTS, rows)

    def bins(self, count):
        known = (10, 20, 200, 340, 200 / 340, 190 / 340, 210 / 340, 2000, 10, 0, "3", "partial")
        times = [(f"b{i:04}", after(minutes=10 * i)) for i in range(count)]
        return self.rows("bins.csv", BINS, [(*t, x, *known) for t in times for x in CLASSES])

    def failed(self, *rows):
        return self.total(failures=len(rows)).rows("failures.csv", FAILURES, rows)

    def journal(self, name, **gallery):
        entry = {"unit": name, "totals": {}, "gallery": gallery}
        (self.folder / "journal" / f"{name}.json").write_text(json.dumps(entry), encoding="utf-8")
        return self

    def write(self, package=None):
        (self.folder / "run.json").write_text(json.dumps(self.run), encoding="utf-8")
        path = write_report(self.folder, package)
        assert path == self.folder / "report.html"
        return Page(path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """The page as a browser takes it: its text by section, its tags, which must balance."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.tags, self.open, self.sections, self.lists = [], [], {"": ""}, {}
        self.section = ""
        self.feed(source)
        self.close()
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs, self.section))
        if tag not in {"meta", "img", "br", "wbr"}:
            self.open.append(tag)
        if tag == "section":
            self.section = attrs["id"]
            self.sections[self.section] = ""
        if attrs.get("class") == "thumbs":
            self.scores = self.lists[attrs["aria-label"]] = []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in {"td", "th", "li"}:
            self.sections[self.section] += " "
        self.section = "" if tag == "section" else self.section

    def handle_data(self, data):
        if "style" not in self.open:
            self.sections[self.section] += data
        if "ul" in self.open and self.open[-1] == "strong":
            self.scores.append(data)

    def text(self, section=""):
        return re.sub(r"\s+", " ", self.sections[section])

    def images(self, section):
        return [a for tag, a, where in self.tags if tag == "img" and where == section]


def shots(*scores):
    size = {"esd_um": 300.0, "png": png()}
    return [{"particle_id": f"p{x:.3f}", "score": x, **size} for x in scores]


def fill(out):
    n = 90
    out.part(
        CLASSES * 30,
        latitude=[50.0 + i / 100 for i in range(n)],
        longitude=[-4.0 + i / 100 for i in range(n)],
        flags=["touches_edge;no_gps" if i % 10 == 0 else "" for i in range(n)],
        esd_um=[100.0 + 10 * i for i in range(n)],
        datetime=[START + timedelta(seconds=20 * i) for i in range(n)],
    )
    out.counts(30, flags="misses_high").bins(3).total(skipped=4)
    out.failed(*[("1454.tar", f"m{i}.tif", "corrupt_image", "cut", "false") for i in range(8)])
    side = {"highest": shots(0.9, 0.8), "lowest": shots(0.5, 0.4)}
    return out.journal("one", **dict.fromkeys(CLASSES, side))

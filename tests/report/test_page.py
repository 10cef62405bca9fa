"""The report, from folders built here: what it says, what it never loads, what it survives."""

import base64
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image
from report_folder import BINS, CARD, COUNTS, START, TOTALS, after, png, shots

from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.report import figures, particle_stats
from pi10_classifier.report import page as report
from pi10_classifier.report.page import write_report


def test_nothing_outside_the_page_is_loaded(page):
    for tag, attrs, section in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "audio", "video"}
        assert not {"srcset", "poster", "background", "action", "data"} & set(attrs)
        assert not [x for x in attrs if x.startswith("on")]
        assert attrs.get("src", "data:").startswith("data:")
        if not attrs.get("href", "#").startswith("#"):  # a link of the model card, to follow
            assert (tag, section, attrs["href"]) == ("a", "model", "https://doi.org/10.1/x")
        assert "url(" not in attrs.get("style", "")
    style = page.source.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"@import|url\(|@font-face", style)


def test_drawings_are_plain_svg_without_links_or_dates(page):
    drawings = [x["src"] for s in ("density", "sizes", "track") for x in page.images(s)]
    assert len(drawings) == 3
    for uri in drawings:
        drawing = base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,"))
        for element in ElementTree.fromstring(drawing).iter():
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:")), value
        assert b"DOCTYPE" not in drawing and b"<dc:date>" not in drawing


def test_pictures_have_alternatives_ids_are_unique_and_headings_nest(page):
    assert all(a.get("alt") for tag, a, _ in page.tags if tag == "img")
    ids = [a["id"] for _, a, _ in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


# Thirty independent minutes: the half-widths shrink by the root of 30.
# 30 minutes of 2 images, each of which stands for ten: Garwood's limits of 60
LOW, HIGH = 45.786 * 10 / 34 / 30, 77.232 * 10 / 34 / 30


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("", "cruise/2024-06-24"),
        ("", "2024-06-24 14:54:00 to 2024-06-24 15:23:40 UTC by pia7"),
        ("", "102 inputs = 90 results + 8 failures + 4 skipped. Every input is accounted for."),
        ("", "Exit code 3: some inputs failed"),
        ("", "they leave classification out until a sample is validated"),
        ("classes", f"0.588 ({LOW:.3f}–{HIGH:.3f})"),
        ("density", "Individuals per litre, per minute"),
        ("track", "90 images carry a GPS fix"),
        ("flags", "touches_edge 9 10.0 % 0 0"),
        ("flags", "misses_high 0 0.0 % 30 0"),
        ("flags", "partial 0 0.0 % 0 3"),
        ("failures", f"corrupt_image 8 {Code.CORRUPT_IMAGE.meaning}"),
        ("run", "inputs cruise/2024-06-24 batch 64 nested.deep true"),
        ("run", "pi10-classifier 0.1.0"),
        ("model", "copepod 0.91"),
        ("model", f"Licence apache-2.0 SHA-256 {'ab' * 32} Toy"),
        ("model", "<script>alert(1)</script>"),
    ],
)
def test_the_page_says(page, section, sentence):
    assert sentence in page.text(section)


def test_the_model_card_is_harmless(page):
    assert page.images("model") == [] and "logo" in page.text("model")
    assert any(tag == "h3" and section == "model" for tag, _, section in page.tags)
    assert "javascript:" not in "".join(a.get("href", "") for _, a, _ in page.tags)


def test_the_head_of_the_model_card_is_for_programs(page):
    assert "license:" not in page.text("model")


def test_every_graph_of_the_model_is_named_the_one_that_ran_first(full):
    full.run["model"]["graphs"] = {"model.onnx": "cd" * 32, "model.int8.onnx": "ab" * 32}
    text = full.write().text("model")
    assert (
        f"SHA-256 {'ab' * 32}, model.int8.onnx Not run here {'cd' * 32}, model.onnx One model"
    ) in text


def test_only_the_first_failures_are_shown(page):
    assert page.text("failures").count("1454.tar › m") == report.EXAMPLES_PER_CODE


def test_the_map_takes_one_position_a_minute(page):
    assert "Map of 30 positions, latitude 50.000° to 50.870°." in page.images("track")[0]["alt"]


def test_a_lost_input_is_said_plainly(full):
    full.run["totals"]["inputs"] += 2
    text = full.write().text()
    assert "2 inputs are not accounted for" in text and "Every input" not in text


def test_tables_that_disagree_with_the_totals_are_named(full):
    full.run["totals"] |= {"results": 91, "failures": 7}
    text = full.write().text()
    assert "holds 90 rows, not the 91 of run.json" in text
    assert "holds 8 rows, not the 7 of run.json" in text


@pytest.mark.parametrize(
    ("totals", "complete", "code"),
    [((3, 3, 0, 0), True, 0), ((3, 0, 3, 0), True, 4), ((0,) * 4, True, 4), ((3, 3), False, 130)],
)
def test_exit_state(out, totals, complete, code):
    out.run |= {"totals": dict(zip(TOTALS, totals, strict=False)), "complete": complete}
    assert f"Exit code {code}:" in out.write().text()


def test_counts_by_class(out):
    out.part(["copepod", *["detritus"] * 3], score=[0.5, 0.6, 0.8, None])
    text = out.write().text("classes")
    assert "copepod 1 25.0 % 0.500" in text
    assert "detritus 3 75.0 % 0.700" in text
    assert "noncopepod 0 0.0 % – –" in text


def test_long_runs_are_drawn_per_bin(full):
    text = full.counts(report.MAX_MINUTES + 1).bins(41).write().text("density")
    assert "Individuals per litre, per ten-minute bin" in text


def test_without_bins_the_minutes_are_gathered(full):
    (full.folder / "bins.csv").unlink()
    text = full.counts(report.MAX_MINUTES + 1).write().text("density")
    assert "Individuals per litre, per ten-minute bin" in text


def test_without_hits_and_misses_raw_counts_are_shown_and_the_reason(full):
    page = full.counts(30, density=False, flags="no_hits_misses").rows("bins.csv", BINS, []).write()
    text = page.text("density")
    assert "Counts over time" in text and "HitsMisses.txt" in text
    assert "Raw counts, not densities. No minute has a density" in text
    assert len(page.images("density")) == 1
    assert "Individuals per litre" not in page.text("classes")


def test_fixes_that_are_no_positions_are_ignored(out):
    out.part(["copepod"] * 4, latitude=[91.0, float("nan"), None, 50.0], longitude=[0, 0, 0, 1000])
    assert "No image carried a GPS fix" in out.write().text("track")


def test_a_fix_without_a_time_is_drawn(out):
    place = {"latitude": [50.0, 50.1], "longitude": [-4.0, -4.1], "datetime": [None, START]}
    page = out.part(["copepod"] * 2, **place).write()
    assert "share one grey point" in page.text("track") and page.images("track")


def test_a_single_fix_without_a_time_is_told(out):
    page = out.part(["copepod"], latitude=[50.0], longitude=[-4.0], datetime=[None]).write()
    told = "1 image carries a GPS fix, all of one minute without a time: 50.00000° latitude"
    assert told in page.text("track") and not page.images("track")
    assert "No image carries the time" in page.text("density")


def test_positions_are_thinned_as_they_are_read(out, monkeypatch):
    monkeypatch.setattr(particle_stats, "MAX_POSITIONS", 100)
    times = [START + timedelta(minutes=i) for i in range(1000)]
    place = {"latitude": [50.0] * 1000, "longitude": [-4.0] * 1000}
    page = out.part(["copepod"] * 1000, datetime=times, **place).write()
    found = re.search(r"Map of (\d+) positions", page.images("track")[0]["alt"])
    assert 50 <= int(found[1]) <= 100
    assert "every 16th minute" in page.text("track")


def test_gallery_is_the_best_and_worst_of_all_journal_files(out):
    for i in range(4):
        scores = [0.5 + (j * 4 + i) / 200 for j in range(12)]
        side = {"highest": shots(*scores[::-1]), "lowest": shots(*scores)}
        out.journal(f"unit-{i}", copepod=side)
    (out.folder / "journal" / "settings.json").write_text('{"model": "x"}')
    page = out.write()
    every = [f"{0.5 + k / 200:.3f}" for k in range(48)]
    assert page.lists["Highest scores of copepod"] == every[::-1][:12]
    assert page.lists["Lowest scores of copepod"] == every[:12]


def test_gallery_ties_go_by_particle(out):
    for unit, prefix in (("a", "z"), ("b", "m")):
        tied = [{"particle_id": f"{prefix}{i}", "score": 0.5, "png": png()} for i in range(10)]
        out.journal(unit, copepod={"highest": tied, "lowest": tied})
    page = out.write()
    names = [x["alt"] for x in page.images("gallery")]
    assert names == [f"m{i}" for i in range(10)] + ["z0", "z1"]
    assert list(page.lists) == ["All images of copepod"]


def test_gallery_survives_what_is_no_picture(out):
    bad = [
        {"particle_id": "a", "score": 0.9, "esd_um": None, "png": "javascript:alert(1)"},
        {"particle_id": "b", "score": 0.8, "esd_um": float("nan"), "png": ""},
        {"particle_id": '"><script>', "score": 0.7, "png": png() + '" onload="x'},
    ]
    out.journal("a", copepod={"highest": bad, "lowest": []})
    out.journal("b", copepod={"highest": [{"particle_id": "c", "score": float("nan")}]})
    (out.folder / "journal" / "c.json").write_text("{cut")
    page = out.write()
    text = page.text("gallery")
    assert text.count("no picture") == text.count("no size") == 3
    assert "2 journal files could not be read in full" in text
    assert page.images("gallery") == []


def test_codes_of_another_version_are_shown(out):
    out.failed(("a", "b", "cosmic_ray", "?", "maybe"), ("a",), ("a", "b", "", "", ""))
    text = out.write().text("failures")
    assert "cosmic_ray 1 This version has no description" in text and "(none) 2" in text


def test_failures_come_from_run_json_where_the_list_is_missing(out):
    out.run["failures_by_code"] = {"disk_full": 3}
    assert f"disk_full 3 {Code.DISK_FULL.meaning} yes" in out.write().text("failures")


def test_hostile_names_are_text(out):
    hostile = "<script>alert('x')</script>\"'&{{ 7*7 }}\u202egnp.exe\x00\x1b[31m" + "x" * 200_000
    label = "<b>$x^{2$</b>\u4e2d"
    out.run["parameters"]["inputs"] = [hostile]
    out.run["model"] |= {"name": hostile, "classes": ["copepod", label]}
    texts = dict.fromkeys(("source", "instrument", "flags"), [hostile] * 3)
    out.part(["copepod", label, None], **texts).counts(3, flags=hostile)
    out.failed((hostile, hostile, hostile, hostile, "false"))
    item = {"particle_id": hostile + "\ud800", "score": 0.9, "png": png()}
    page = out.journal("a", **{hostile: {"highest": [item], "lowest": [item]}}).write()
    assert not [tag for tag, _, _ in page.tags if tag in {"script", "b"}]
    assert not re.search("[\u202e\x00\x1b]", page.source)
    assert "{{ 7*7 }}\\u202egnp.exe" in page.text("failures")
    assert len(page.source) < 1_000_000


def test_no_result_at_all(out):
    page = out.failed(("a.tar", "", "archive_corrupt", "cut", "false")).write()
    for section in ("classes", "density", "sizes", "track"):
        assert "No image has a result, so there is no" in page.text(section)
    assert "kept no pictures" in page.text("gallery")
    assert "No image, minute or bin was flagged." in page.text("flags")
    assert "no README.md" in page.text("model")
    assert "No image carries the time it was taken" in page.text()


def test_a_bare_run_json_and_nothing_else(out):
    shutil.rmtree(out.folder / "journal")
    shutil.rmtree(out.folder / "predictions.parquet")
    out.run = {}
    assert "0 inputs = 0 results + 0 failures + 0 skipped" in out.write().text()


def test_one_image(out):
    page = out.part(["copepod"], latitude=[50.0], longitude=[-4.0]).counts(1).write()
    assert "1 image carries a GPS fix, all of one minute: 50.00000° latitude" in page.text("track")
    assert "one minute, so there is no course over time" in page.text("density")
    assert [len(page.images(x)) for x in ("density", "sizes", "track")] == [0, 1, 0]
    assert "No input failed." in page.text("failures")


def test_an_image_that_knows_nothing(out):
    columns = dict.fromkeys(("datetime", "instrument", "latitude", "longitude", "esd_um", "flags"))
    out.part(["copepod"], **columns).rows("counts.csv", COUNTS, [("", "", "copepod", 1)])
    page = out.write()
    assert "No image carries the time it was taken, so nothing" in page.text("density")
    assert "No minute has a density, so there is no spectrum" in page.text("sizes")
    assert "No image carried a GPS fix" in page.text("track")


def test_many_classes(out):
    labels = out.run["model"]["classes"] = [f"class-{i:03}" for i in range(60)]
    out.part([x for i, x in enumerate(labels) for _ in range(60 - i)])
    moments = (after(), after(minutes=1))
    rows = [("b", at, x, 60 - i, *[""] * 8) for at in moments for i, x in enumerate(labels)]
    page = out.rows("counts.csv", COUNTS, rows).write()
    assert "class-059 1" in page.text("classes")
    assert "Only the 8 most frequent classes are drawn" in page.text("density")
    colour = figures.colours(labels)
    assert colour["class-000"] == "#0072B2" and len({*colour.values()}) == len(figures.PALETTE) + 1


def test_the_same_files_give_the_same_bytes(full, page, tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    assert full.write(tmp_path).source == page.source
    assert [x.name for x in full.folder.iterdir() if "report" in x.name] == ["report.html"]


def test_many_parts_are_one_table(out):
    for i in range(120):
        out.part(["copepod", "detritus"], name=f"part-{i:03}", flags=["a;b", ""])
    for unfinished in (".part-9.parquet.tmp", ".half.parquet"):
        (out.folder / "predictions.parquet" / unfinished).write_bytes(b"half")
    page = out.write()
    assert "copepod 120 50.0 %" in page.text("classes")
    assert "a 120 50.0 %" in page.text("flags")
    assert "not the" not in page.text()


def test_what_cannot_be_read_names_the_remedy(out, tmp_path):
    with pytest.raises(SettingError, match=r"no run\.json"):
        write_report(tmp_path)
    (out.folder / "predictions.parquet" / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SettingError, match=r"predictions\.parquet.*--resume"):
        out.write()
    for content in (b"{cut", b"7", b"\xff"):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(SettingError, match="cannot read"):
            write_report(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing_behind(full):
    (full.folder / "report.html" / "x").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"report\.html"):
        full.write()
    assert not list(full.folder.glob(".report*"))


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_extra_names_the_remedy(full, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingError, match=r'\[report\]"'):
        full.write()


def test_importing_the_module_loads_no_plotting_library():
    heavy = "{'matplotlib', 'jinja2', 'pyarrow'}"
    code = f"import sys, pi10_classifier.report.page; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_in_a_browser(page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed: the page was not opened in a browser")
    (tmp_path / "report.html").write_text(page.source, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr "
        f"--user-data-dir={tmp_path}/profile --window-size=1280,3000 --screenshot={tmp_path}/p.png"
    )
    command = [browser, *flags.split(), (tmp_path / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    with Image.open(tmp_path / "p.png") as picture:
        seen = {*picture.convert("RGB").resize((320, 750)).get_flattened_data()}
    assert len(seen) > 200, "the page is blank"

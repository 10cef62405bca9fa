"""The report's figures: drawings that are the same bytes every time.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart; a
class keeps its colour through the whole page. Drawing needs the extra ``report``.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pi10_classifier.report.density_series import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pi10_classifier.report.spectrum import Spectrum

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
REST = "#777777"
MAX_PANELS = 8
MAX_TRACK_POINTS = 1500
SMALLEST_UM, LARGEST_UM = 180.0, 35_000.0  # what the instrument is built to catch
KM_PER_DEGREE = 111.195  # mean Earth radius 6371 km

_WIDTH = 5.2  # inches: narrow enough that the text stays legible on a phone
INK, _SOFT, _GREY = "#1d2730", "#33404a", "#8a939b"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "pi10-classifier",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _SOFT,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e7ea",
    "grid.linewidth": 0.7,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "text.color": INK,
    "timezone": "UTC",
    "path.simplify": True,
}
_SVG_NOTES = ("Creator", "Date", "Format", "Type")  # left out: dates change, types are links
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_RC_LOCK = threading.Lock()  # matplotlib's settings belong to the process


def colours(labels: Sequence[str]) -> dict[str, str]:
    """The colour of each class, by its place in the model's list."""
    return {x: PALETTE[i] if i < len(PALETTE) else REST for i, x in enumerate(labels)}


def draw(height: float, paint: Callable[[Figure], None]) -> bytes:
    """An SVG of ``height`` inches in the house's style, as ``paint`` fills it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _RC_LOCK, matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.BytesIO()
        # Figure.savefig would lay it out and draw it twice
        canvas.print_svg(buffer, metadata=dict.fromkeys(_SVG_NOTES))  # type: ignore[no-untyped-call]
    _, _, drawing = buffer.getvalue().partition(b"<svg ")  # the head names a DTD on the web
    return b"<svg " + drawing


def plain(text: str, limit: int = 28) -> str:
    """A class name as matplotlib may draw it: short, and no mathematics between dollars."""
    text = "".join(x if x.isprintable() and ord(x) < 0x250 else "?" for x in text)
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")


def _thousands(axis: Any, ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))


def time_figure(
    curves: Mapping[str, Floats], step: int, unit: str, colour: dict[str, str]
) -> bytes:
    """A panel per class over a common time axis, from :meth:`Series.curve`."""

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, curve) in zip(panels, curves.items(), strict=True):
            _paint_curve(axes, curve, step, colour[label])
            axes.set_title(plain(label, 60))
        times = np.concatenate([x[0] for x in curves.values()])
        pad = max(step, np.ptp(times) // 50)
        edges = np.array([times.min() - pad, times.max() + step + pad], np.int64)
        panels[-1].set_xlim(*edges.astype("datetime64[m]"))
        _dates(panels[-1].xaxis)
        panels[-1].set_xlabel("time (UTC)")
        figure.supylabel(unit, fontsize=9.5)

    return draw(0.7 + 1.35 * len(curves), paint)


def _paint_curve(axes: Axes, curve: Floats, step: int, colour: str) -> None:
    # More than one step and a half without a point is a gap in the data: the line stops there.
    breaks = np.flatnonzero(np.diff(curve[0]) > 1.5 * step) + 1
    times, value, low, high = np.insert(curve, breaks, np.nan, axis=1)
    hole = np.isnan(times)
    seconds = 60 * np.nan_to_num(times, nan=curve[0, 0]) + 30 * step
    x: Any = seconds.astype(np.int64).astype("datetime64[s]")
    axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(x, value, color=colour, linewidth=1.2)
    # A point between two gaps has no line, so it needs a mark; few points all get one.
    alone = ~hole & np.r_[True, hole[:-1]] & np.r_[hole[1:], True]
    marked = ~hole if len(curve[0]) <= 120 else alone
    axes.plot(x[marked], value[marked], color=colour, linestyle="", marker="o", markersize=2.4)
    axes.set_ylim(0, float(np.max(curve[1:])) * 1.08 or 1.0)
    _thousands(axes.yaxis, 4)


def _dates(axis: Any) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axis.set_major_locator(locator)
    axis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def spectrum_figure(spectra: Mapping[str, Spectrum], colour: dict[str, str]) -> bytes:
    """Normalised biovolume over size, both logarithmic: points with limits, and fitted lines."""

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes = figure.add_subplot()
        for label, its in spectra.items():
            tint = colour.get(label, INK)
            esd, value, low, high = its.points
            bars = np.array([value - np.minimum(low, value), np.maximum(high, value) - value])
            axes.errorbar(
                esd, value, bars, color=tint, fmt="o", markersize=3.2, elinewidth=0.8,
                mfc=tint if label in colour else "white", label=plain(label),
            )  # fmt: skip
            if its.fit.size:
                axes.plot(*its.fit, color=tint, linewidth=1.3, linestyle="-" if label in colour
                          else (0, (5, 2)))  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        values = np.concatenate([its.points[1] for its in spectra.values()])
        axes.set_ylim(values.min() / 3, values.max() * 3)
        left = axes.get_xlim()[0]
        if left < SMALLEST_UM:
            axes.set_xlim(left=left)
            axes.axvspan(left, SMALLEST_UM, color=_GREY, alpha=0.14, linewidth=0)
            axes.axvline(SMALLEST_UM, color="#5b656d", linestyle=(0, (4, 3)), linewidth=1)
        axes.legend(frameon=False, fontsize=8.5)
        axes.set_ylabel("normalised biovolume, mm³ m⁻³ mm⁻³")
        axes.set_xlabel("equivalent spherical diameter, µm")
        if values.max() < 100 * values.min():  # powers of ten alone would be too few
            axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        # without mathematics, to draw which takes as long as all the rest of the text
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _power(y)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=30))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())

    return draw(3.6, paint)


def _power(value: float) -> str:
    """A power of ten with its exponent raised, another number in four digits."""
    if value <= 0:  # of a tick that no float can hold
        return ""
    exponent = round(math.log10(value))
    if not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return f"{value:,.4g}"
    return "10" + str(exponent).translate(_RAISED)


def unwrap(longitude: Floats) -> Floats:
    """Longitudes made continuous, cut at the widest empty stretch of the circle.

    A track over the antimeridian runs on past 180 instead of crossing the map.
    """
    around = np.sort(np.mod(longitude, 360.0))
    gaps = np.diff(np.r_[around, around[0] + 360.0])
    start = around[(int(np.argmax(gaps)) + 1) % len(around)]
    east = np.mod(longitude - start, 360.0) + start
    return np.asarray(east - 360.0 * np.round(np.median(east) / 360.0), np.float64)


def track_figure(minutes: Ints, latitude: Floats, longitude: Floats, density: Floats) -> bytes:
    """Positions in order of time, one degree of latitude as long as 60 nautical miles.

    ``minutes`` (since 1970) ascend, negative where unknown. ``density`` colours
    the points where any is finite, else time does.
    """
    stride = math.ceil(len(minutes) / MAX_TRACK_POINTS)
    minutes, latitude, density = minutes[::stride], latitude[::stride], density[::stride]
    longitude = unwrap(longitude[::stride])
    shrink = max(math.cos(math.radians(float(np.mean(latitude)))), 0.05)
    centre_x = (longitude.max() + longitude.min()) / 2
    centre_y = (latitude.max() + latitude.min()) / 2
    # Half the frame in degrees of latitude: never under 0.02, never a sliver.
    tall = max(np.ptp(latitude) * 0.58, 0.02)
    wide = max(np.ptp(longitude) * shrink * 0.58, 0.02, tall * 0.75)
    tall = max(tall, wide * 0.45)

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = figure.add_subplot()
        axes.set_xlim(centre_x - wide / shrink, centre_x + wide / shrink)
        axes.set_ylim(centre_y - tall, centre_y + tall)
        axes.set_aspect(1 / shrink)
        for spine in axes.spines.values():
            spine.set_visible(True)
        _paint_track(figure, axes, minutes, latitude, longitude, density)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _degrees(x, "E", "W")))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _degrees(y, "N", "S")))
        _scale_bar(axes, 2 * wide * KM_PER_DEGREE)

    return draw(0.9 + min(3.6 * tall / wide, 4.0), paint)


def _paint_track(
    figure: Figure, axes: Axes, minutes: Ints, latitude: Floats, longitude: Floats, density: Floats
) -> None:
    gaps = np.diff(minutes)
    typical = float(np.median(gaps)) if len(gaps) else 1.0
    breaks = np.flatnonzero((gaps > max(60.0, 4 * typical)) | (minutes[:-1] < 0)) + 1
    x, y = (np.insert(z, breaks, np.nan) for z in (longitude, latitude))
    axes.plot(x, y, color="#b4bcc2", linewidth=0.9, zorder=1)
    known = np.isfinite(density)
    timed = minutes >= 0
    by_density = bool(known.any())
    grey = ~known if by_density else ~timed
    axes.scatter(longitude[grey], latitude[grey], s=7, color=_GREY, zorder=2, linewidth=0)
    if not grey.all():
        x, y, days = longitude[~grey], latitude[~grey], minutes[~grey] / 1440
        shade = density[~grey] if by_density else days  # since 1970, as matplotlib counts time
        points = axes.scatter(x, y, c=shade, cmap="viridis", s=14, zorder=3, linewidth=0)
        if np.ptp(shade) > 0:
            bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=28)
            bar.outline.set_visible(False)
            bar.set_label("individuals per litre, all classes" if by_density else "time (UTC)")
            if not by_density:
                _dates(bar.ax.yaxis)
    ends = np.flatnonzero(timed)
    named = {"position": ends} if len(ends) == 1 else {"start": ends[:1], "end": ends[-1:]}
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    for name, index in named.items():
        for spot in zip(longitude[index], latitude[index], strict=True):
            side, at = ("left", 7) if spot[0] <= np.mean(axes.get_xlim()) else ("right", -7)
            axes.annotate(name, spot, (at, 7), textcoords="offset points", ha=side, bbox=box)


def _degrees(value: float, positive: str, negative: str) -> str:
    if positive == "E":
        value = (value + 180.0) % 360.0 - 180.0
    value = round(value, 6)
    side = "" if value in (0, -180.0) else positive if value > 0 else negative
    return f"{abs(value):.10g}°{side}"


def _scale_bar(axes: Axes, width_km: float) -> None:
    """A bar of a round number of kilometres, about a quarter of the map's width."""
    target = width_km / 4
    power = 10.0 ** math.floor(math.log10(target))
    length = max(x * power for x in (1, 2, 5) if x * power <= target)
    share = length / width_km
    place: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    axes.plot([0, share], [1.035, 1.035], color=INK, linewidth=2, **place)
    axes.text(share + 0.02, 1.035, f"{length:,.10g} km", va="center", **place)

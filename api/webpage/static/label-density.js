"use strict";
// The corrected densities beside the particles: numbers, and how the interval narrows.

const Density = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const BOX = { left: 46, right: 8, top: 8, bottom: 24, width: 360, height: 130 };
  const BUSY_MS = 5000;
  let shown = ""; // class in the chart
  const known = new Map(); // labeller and stratum -> its series
  let series = new Map(); // number of labels -> rows
  let asking = false;
  let again = false;
  let turn = 0;
  let current = null; // {labeller, stratum}

  const key = () => new URLSearchParams(current).toString();

  function start(labeller, stratum) {
    turn += 1;
    current = { labeller, stratum };
    asking = again = false;
    const name = key();
    const before = known.get(name);
    series = before || new Map();
    known.set(name, series);
    // what stands there is of another stratum
    if (before?.size) fill(before.get(Math.max(...before.keys())));
    else clear(stratum === "all" ? "" : `Stratum ${stratum}.`);
    refresh();
    if (before) return;
    const mine = turn;
    call(`history?${key()}`).then((steps) => {
      if (mine !== turn) return;
      for (const rows of steps) if (!series.has(rows[0].labelled)) series.set(rows[0].labelled, rows);
      draw();
    }).catch(() => known.delete(name)); // asked for again; the density itself tells what is wrong
  }

  function clear(text) {
    $("density-note").textContent = text;
    $("densities").replaceChildren();
    $("trend").hidden = true;
  }

  // one question at a time, and one more where labels came meanwhile
  async function refresh() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    const mine = turn;
    try {
      const rows = await call(`density?${key()}`);
      if (mine === turn) {
        // labels that were taken back take their points along
        for (const number of [...series.keys()]) if (number > rows[0].labelled) series.delete(number);
        series.set(rows[0].labelled, rows);
        fill(rows);
      }
    } catch (error) {
      if (mine !== turn) return;
      if (error.status === 503) { // the numbers stay, and follow soon
        $("density-note").textContent = "The service is busy; the densities follow.";
        setTimeout(() => { if (mine === turn) refresh(); }, BUSY_MS);
      } else clear(error.message);
    } finally {
      if (mine === turn) {
        asking = false;
        if (again) {
          again = false;
          refresh();
        }
      }
    }
  }

  function fill(rows) {
    const told = rows.filter((row) => row.per_litre !== null);
    const where = current.stratum === "all" ? "" : `Stratum ${current.stratum}. `;
    $("density-note").textContent = where + (told.length
      ? `Corrected by ${plural(rows[0].labelled, "label", "labels")}, with 95 % intervals.`
      : `None yet: ${rows[0].note}.`);
    if (!told.some((row) => row.label === shown)) shown = told.length ? told[0].label : "";
    const focused = document.activeElement?.closest?.("#densities button")?.dataset.label;
    $("densities").replaceChildren(...told.map((row) => {
      const button = make("button");
      button.type = "button";
      button.dataset.label = row.label;
      button.setAttribute("aria-pressed", String(row.label === shown));
      button.append(
        make("span", row.label, "name"),
        make("span", digits(row.per_litre), "value"),
        make("span", `${digits(row.per_litre_low)} to ${digits(row.per_litre_high)}; uncorrected ${digits(row.plain_per_litre ?? 0)}`, "range"),
      );
      button.onclick = () => {
        shown = row.label;
        for (const other of $("densities").children) other.setAttribute("aria-pressed", String(other === button));
        draw();
      };
      return button;
    }));
    if (focused) [...$("densities").children].find((button) => button.dataset.label === focused)?.focus();
    draw();
  }

  function part(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function draw() {
    const points = [...series.entries()].sort((a, b) => a[0] - b[0])
      .map(([number, rows]) => ({ number, row: rows.find((row) => row.label === shown && row.per_litre !== null) }))
      .filter((point) => point.row);
    $("trend").hidden = points.length < 2;
    if (points.length < 2) return;
    const last = points[points.length - 1];
    const [first, most] = [points[0].number, last.number];
    const plain = last.row.plain_per_litre ?? 0;
    // from 0, and no interval is cut off
    const top = 1.08 * Math.max(plain, ...points.map((p) => p.row.per_litre_high)) || 1;
    const x = (number) => BOX.left + ((number - first) / Math.max(1, most - first)) * (BOX.width - BOX.left - BOX.right);
    const y = (value) => BOX.height - BOX.bottom - (value / top) * (BOX.height - BOX.top - BOX.bottom);
    const path = (value) => points.map((p) => `${x(p.number).toFixed(1)},${y(value(p.row)).toFixed(1)}`);
    const band = [...path((row) => row.per_litre_high), ...path((row) => row.per_litre_low).reverse()];
    const [left, right, floor] = [BOX.left, BOX.width - BOX.right, BOX.height - BOX.bottom];
    $("chart").replaceChildren(
      part("line", { class: "axis", x1: left, x2: right, y1: floor, y2: floor }),
      part("line", { class: "axis", x1: left, x2: left, y1: BOX.top, y2: floor }),
      part("polygon", { class: "band", points: band.join(" ") }),
      part("line", { class: "plain", x1: left, x2: right, y1: y(plain), y2: y(plain) }),
      part("polyline", { class: "line", points: path((row) => row.per_litre).join(" ") }),
      part("circle", { class: "dot", cx: x(most), cy: y(last.row.per_litre), r: 3.5 }),
      part("text", { x: left - 6, y: BOX.top + 8, "text-anchor": "end" }, digits(top)),
      part("text", { x: left - 6, y: floor, "text-anchor": "end" }, "0"),
      part("text", { x: left, y: BOX.height - 6 }, number(first)),
      part("text", { x: right, y: BOX.height - 6, "text-anchor": "end" }, plural(most, "label", "labels")),
    );
    $("trend-text").textContent = `${shown}: ${digits(last.row.per_litre)} per litre, 95 % interval ${digits(last.row.per_litre_low)} to ${digits(last.row.per_litre_high)} (shaded); dashed: uncorrected, ${digits(plain)}.`;
  }

  return { start, refresh };
})();

// The page: asks the server, shows the fleet's state, and has the charts drawn.
"use strict";

const $ = (id) => document.getElementById(id);
const DAY = 86400000;
const EVERY = 30000;
const state = { overview: null, voyage: null, series: null, spectrum: [], asked: 0 };

async function fetched(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(answer.status === 400 ? await answer.text() : `the server answers ${answer.status}`);
  return answer;
}

async function ask(path) {
  return (await fetched(path)).json();
}

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

function fail(error) {
  $("error").textContent = `The page could not be refreshed: ${error.message}. It tries again every half minute.`;
  $("error").hidden = false;
}

const day = (time) => new Date(time).toISOString().slice(0, 10);
const number = (value, digits = 3) => value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toLocaleString("en");
const ago = (minutes) => minutes < 2 ? "now" : minutes < 120 ? `${minutes} min ago` : minutes < 2880 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;

function card(voyage) {
  const item = element("li"), button = element("button");
  button.type = "button";
  button.setAttribute("aria-pressed", String(voyage.name === state.voyage));
  button.append(element("strong", voyage.name));
  if (voyage.kind === "ship") {
    const worst = voyage.alerts.some((alert) => alert.level === "bad") ? "bad" : voyage.alerts.length ? "warning" : "good";
    button.classList.add(worst);
    const seen = voyage.silent_minutes === null ? "nothing received yet" : `last line ${ago(voyage.silent_minutes)}`;
    button.append(element("span", seen));
    if (voyage.silent_minutes !== null) {
      const hours = voyage.backlog_hours > 0.05 ? ` (${number(voyage.backlog_hours, 2)} h)` : "";
      button.append(element("span", `backlog ${voyage.backlog.toLocaleString("en")}${voyage.more ? "+" : ""}${hours}`));
      button.append(element("span", `${number(voyage.images_per_minute)} images a minute`));
      const graph = element("span", voyage.model_name ? `model ${voyage.model_name} ${voyage.model_version}, ${voyage.precision} (${voyage.model})` : `model ${voyage.model}`);
      graph.title = "The first digits of the SHA-256 of the graph that runs aboard. One model may have two graphs, fp32 and int8, each with its own.";
      button.append(graph);
      if (Date.parse(state.overview.now) - Date.parse(voyage.minute) > 5 * 60000) button.append(element("span", `lines up to ${voyage.minute.replace("T", " ").replace("Z", "")}`));
      if (voyage.missing) button.append(element("span", `${voyage.missing} ${voyage.missing === 1 ? "line" : "lines"} awaited`));
    }
  } else {
    button.classList.add("results");
    button.append(element("span", `finished run, model ${[voyage.model, voyage.model_version].join(" ").trim()}${voyage.precision ? `, ${voyage.precision}` : ""}`));
    button.append(element("span", voyage.from ? `${voyage.from.slice(0, 10)} to ${voyage.to.slice(0, 10)}` : "no minute with a time"));
    if (voyage.images_without_time) button.append(element("span", `${voyage.images_without_time} images without a time are not shown`));
  }
  button.addEventListener("click", () => choose(voyage.name));
  item.append(button);
  return item;
}

function showFleet() {
  const { voyages, now, version, charts } = state.overview;
  $("about").textContent = `${now.replace("T", " ").replace("Z", " UTC")} · pi10 ${version}`;
  $("fleet").replaceChildren(...voyages.map(card));
  const list = element("ul", undefined, "note", "warn");
  for (const voyage of voyages) for (const alert of voyage.alerts || []) list.append(element("li", `${voyage.name}: ${alert.text}`));
  if (list.querySelector("li") && voyages.some((voyage) => (voyage.alerts || []).some((alert) => alert.level === "bad"))) list.classList.replace("warn", "bad");
  $("alerts").replaceChildren(...(list.firstChild ? [list] : []));
  const names = voyages.map((voyage) => voyage.name);
  if ([...$("voyage").options].map((option) => option.value).join("\n") !== names.join("\n")) {
    $("voyage").replaceChildren(...names.map((name) => new Option(name, name)));
    $("voyage").value = state.voyage || "";
  }
  if (!charts) fail(new Error('there are no charts, as plotly is not installed on the server: pip install "pi10-classifier[shore]"'));
}

function choose(name) {
  state.voyage = name;
  state.spectrum = [];
  $("voyage").value = name;
  const voyage = state.overview.voyages.find((entry) => entry.name === name);
  const last = voyage && voyage.to ? Math.min(Date.parse(voyage.to) - 1, Date.parse(state.overview.now)) : Date.now();
  $("until").value = day(last);
  $("span").value = "7";
  if (voyage && voyage.kind === "results") {
    const days = (Date.parse(voyage.to) - Date.parse(voyage.from)) / DAY;
    $("span").value = days <= 1 ? "1" : days <= 3 ? "3" : days <= 7 ? "7" : "0";
  }
  for (const button of $("fleet").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.querySelector("strong").textContent === name));
  refresh();
}

function range() {
  const voyage = state.overview.voyages.find((entry) => entry.name === state.voyage);
  let end = Date.parse($("until").value) + DAY, days = Number($("span").value);
  if (Number.isNaN(end)) end = Date.parse(day(Date.now())) + DAY;
  if (!days) {
    const first = voyage && voyage.from ? Date.parse(voyage.from.slice(0, 10)) : end - DAY;
    days = Math.min(400, Math.max(1, Math.ceil((end - first) / DAY)));
  }
  return [day(end - days * DAY), day(end)];
}

// a ship's axis is the chosen time, so that its silence is seen; a run's is the time that it has
function shownOf(series) {
  const voyage = state.overview.voyages.find((entry) => entry.name === series.name);
  if (voyage.kind === "ship" || !series.time.length) return [series.from, series.to];
  const step = series.step_minutes * 60000;
  const first = Date.parse(series.time[0]) - step, last = Date.parse(series.time[series.time.length - 1]) + 2 * step;
  return [new Date(first).toISOString(), new Date(last).toISOString()];
}

async function refresh() {
  if (!state.voyage) return;
  const asked = ++state.asked, name = encodeURIComponent(state.voyage);
  try {
    const [from, to] = range();
    const series = await ask(`api/voyages/${name}/series?from=${from}&to=${to}`);
    const answer = await fetched(`api/voyages/${name}/spectrum`);
    const spectrum = await answer.json();
    const pictures = await ask(`api/voyages/${name}/pictures`);
    if (asked !== state.asked) return; // a later choice has been made
    showPictures(pictures);
    series.shown = shownOf(series);
    state.series = series;
    state.spectrum = spectrum;
    $("no-spectrum").textContent = spectrum.length ? "" : `No size spectrum: ${answer.headers.get("Pi10-No-Spectrum")}.`;
    $("error").hidden = state.overview.charts;
    show();
  } catch (error) { fail(error); }
}

function show() {
  $("today").href = `days/${$("until").value || day(Date.now())}`;
  const { series } = state, names = Object.keys(series.classes);
  const options = ["", ...names];
  if ([...$("label").options].map((option) => option.value).join("\n") !== options.join("\n")) {
    const chosen = $("label").value;
    $("label").replaceChildren(...options.map((name) => new Option(name || "all", name)));
    $("label").value = names.includes(chosen) ? chosen : "";
  }
  const voyage = state.overview.voyages.find((entry) => entry.name === series.name);
  const begin = voyage && voyage.from ? ` Its first minute is ${voyage.from.replace("T", " ").replace("Z", "")}.` : "";
  $("empty").hidden = names.length > 0;
  $("empty").textContent = `${series.name} has no particles from ${series.from.slice(0, 10)} to ${day(Date.parse(series.to) - 1)}.${begin} Choose another time.`;
  showMeans();
  showGaps();
  $("f-flags").hidden = !series.flags.length;
  $("f-spectrum").hidden = !state.spectrum.length;
  if (!state.overview.charts || typeof Plotly === "undefined") return;
  const chosen = $("label").value, interval = $("interval").value;
  const which = chosen || names.reduce((most, name) => (series.overall[name].raised_count > (most ? series.overall[most].raised_count : -1) ? name : most), "");
  $("c-density").textContent = `Individuals per litre, by ${series.step}, with the 95 % interval ${interval ? "of the water mass" : "of the water sampled"}`;
  Charts.density("density", series, chosen, interval);
  Charts.hits("hits", series);
  Charts.images("images", series);
  if (series.flags.length) Charts.flags("flags", series);
  if (state.spectrum.length) Charts.spectrum("spectrum", state.spectrum, chosen);
  const located = series.track.time.length > 0;
  $("c-map").textContent = located ? `Track${which ? `, and ${which} per litre` : ""}` : "Track: no positions in this time";
  $("c-section").textContent = located && which ? `Time and latitude: ${which} per litre` : "Time and latitude: no positions in this time";
  $("map").hidden = !located;
  $("section").hidden = !located || !which;
  if (!located) return;
  if (which) Charts.section("section", series, which);
  const live = state.overview.voyages.some((voyage) => voyage.name === series.name && voyage.kind === "ship");
  const fleet = live ? state.overview.voyages.filter((voyage) => voyage.position) : [];
  Charts.map("map", series, which, fleet, async (box) => {
    const query = new URLSearchParams({ west: box.west, south: box.south, east: Math.min(box.east, box.west + 359), north: box.north });
    return (await ask(`api/coast?${query}`)).outlines;
  }).catch(fail);
}

function showMeans() {
  const { overall, images } = state.series, table = element("table");
  const head = table.createTHead().insertRow();
  for (const name of ["class", "per litre", "95 %, water sampled", "95 %, water mass", "minutes", "images"]) head.append(element("th", name));
  const body = table.createTBody();
  for (const name of Object.keys(overall).sort()) {
    const density = overall[name], row = body.insertRow();
    const span = (low, high) => (low === null ? "–" : `${number(low)} to ${number(high)}`);
    const cells = [name, number(density.per_litre), span(density.low, density.high), span(density.water_mass_low, density.water_mass_high), density.minutes.toLocaleString("en"), (images[name] || 0).toLocaleString("en")];
    for (const text of cells) row.append(element("td", text));
  }
  $("means").replaceChildren(...(body.rows.length ? [table] : []));
}

function showPictures(pictures) {
  $("f-pictures").hidden = !pictures.length;
  $("pictures").replaceChildren(...pictures.map((picture) => {
    const item = element("li"), image = element("img");
    image.src = `pictures/${picture.picture}.jpg`;
    image.alt = `${picture.label}, ${picture.particle_id}`;
    image.loading = "lazy";
    image.title = `${picture.particle_id}, received ${picture.received}`;
    const size = picture.esd_um === null ? "" : `, ${number(picture.esd_um)} µm`;
    item.append(image, element("span", `${picture.label} ${number(picture.score, 2)}${size}`));
    return item;
  }));
}

function showGaps() {
  const { gaps } = state.series;
  if (!gaps || !gaps.length) {
    $("gaps").replaceChildren(element("p", gaps ? "No gaps between the lines of this time." : "Gaps are shown for up to 62 days.", "hint"));
    return;
  }
  const box = element("details"), list = element("ul");
  const minutes = gaps.reduce((sum, gap) => sum + gap.minutes, 0);
  box.append(element("summary", `${gaps.length} ${gaps.length === 1 ? "gap" : "gaps"}, ${minutes.toLocaleString("en")} minutes in all`), list);
  for (const gap of gaps.slice(0, 200)) {
    const why = gap.missing ? `${gap.missing} lines have not arrived` : "nothing was recorded or watched";
    list.append(element("li", `${gap.from} to ${gap.to}: ${gap.minutes} min, ${why}`));
  }
  $("gaps").replaceChildren(box);
}

async function tick() {
  try {
    state.overview = await ask("api/voyages");
    $("error").hidden = true;
    showFleet();
    const ships = state.overview.voyages;
    if (!state.voyage && ships.length) choose((ships.find((voyage) => voyage.from) || ships[0]).name);
    else if (ships.find((voyage) => voyage.name === state.voyage && voyage.kind === "ship")) await refresh();
  } catch (error) { fail(error); }
}

function move(direction) {
  const days = Number($("span").value) || 7;
  $("until").value = day(Date.parse($("until").value || day(Date.now())) + direction * days * DAY);
  refresh();
}

document.addEventListener("DOMContentLoaded", () => {
  $("voyage").addEventListener("change", () => choose($("voyage").value));
  for (const id of ["span", "until"]) $(id).addEventListener("change", refresh);
  for (const id of ["label", "interval"]) $(id).addEventListener("change", () => state.series && show());
  $("earlier").addEventListener("click", () => move(-1));
  $("later").addEventListener("click", () => move(1));
  $("choice").addEventListener("submit", (event) => event.preventDefault());
  tick();
  setInterval(() => { if (!document.hidden) tick(); }, EVERY);
});

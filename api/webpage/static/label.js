"use strict";
const digits = (value) => value.toLocaleString("en-GB", { maximumSignificantDigits: 3 });
const CELLS = 24; // of one page of the grid
const AHEAD = 4; // pictures fetched before they are shown
const LARGEST_ZOOM = 12;

let about = null;
let who = "";
let particles = [];
let labels = new Map(); // particle id -> {label, taxon}
let others = {}; // particle id -> labeller -> [label, taxon], where both have judged and differ
let predicted = null; // shown only where asked for
let at = null; // order of the particle shown; null where nothing is left
let grid = { on: false, first: 0, focus: 0, selected: new Set() };
let saving = false;
let taxon = ""; // chosen for the next label
let done = []; // what can be taken back

const GONE = "The program no longer answers. Every label it has confirmed is on the disk: start it again with pi10 validate label, and go on at the address it prints.";
const GONE_SERVICE = "The service does not answer. Every label it has confirmed is stored there: check the network, then go on.";

async function call(address, body) {
  try {
    return await ask(about?.served ? GONE_SERVICE : GONE, address, body);
  } catch (error) {
    // the results went, and the labels with them, but for those known here
    if (error.status === 404 && about?.served && labels.size) $("rescue").hidden = false;
    throw error;
  }
}

const stratum = () => $("stratum").value;

// ---- what is shown

const MATCHES = {
  unlabelled: (p) => !labels.has(p.id),
  all: () => true,
  labelled: (p) => labels.has(p.id),
  differing: (p) => p.id in others,
  pictureless: (p) => Boolean(p.problem),
};

function visible() {
  const filter = $("filter").value;
  const matches = MATCHES[filter] || ((p) => labels.get(p.id)?.label === filter.slice(6));
  return particles.filter((p) => (!stratum() || p.stratum === stratum()) && matches(p));
}

function sizeOf(p) {
  if (p.esd_um === null || p.esd_um === undefined) return `${p.width_px} × ${p.height_px} px`;
  const [major, minor] = [Math.round(p.major_um), Math.round(p.minor_um)];
  return `ESD ${number(Math.round(p.esd_um))} µm, ${number(major)} × ${number(minor)} µm`;
}

const labelText = (given) => (given ? given.label + (given.taxon ? ` (${given.taxon})` : "") : "");

function fit(image, bar, p, width, height) {
  let zoom = Math.min(width / p.width_px, height / p.height_px, LARGEST_ZOOM);
  if (zoom > 1) zoom = Math.floor(zoom); // whole pixels, so that they all look alike
  image.style.width = `${p.width_px * zoom}px`;
  image.style.height = `${p.height_px * zoom}px`;
  let length = 10;
  for (const um of [20, 50, 100, 200, 500, 1000, 2000, 5000]) {
    if ((um / about.um_per_px) * zoom <= Math.min(150, 0.45 * width)) length = um;
  }
  bar.firstElementChild.style.width = `${(length / about.um_per_px) * zoom}px`;
  bar.lastElementChild.textContent = length < 1000 ? `${length} µm` : `${length / 1000} mm`;
}

function showOne() {
  const p = at === null ? null : particles[at];
  $("picture").hidden = $("scalebar").hidden = !p || Boolean(p.problem);
  $("none").hidden = !p?.problem;
  $("done").hidden = Boolean(p);
  $("facts").replaceChildren();
  $("given").textContent = "";
  $("place").textContent = p ? `${number(at + 1)} of ${number(particles.length)}` : "";
  if (!p) {
    $("done").textContent = $("filter").value === "unlabelled"
      ? `All particles with a picture are labelled. Next: ${about.served ? "correct the densities" : "pi10 validate estimate"}`
      : "No particle is so.";
    pressed();
    return;
  }
  if (p.problem) {
    $("none").textContent = `No picture of ${p.id}: ${p.problem}. Skip it with →.`;
  } else {
    const image = $("picture");
    image.src = `pictures/${at}`;
    image.alt = `Particle ${at + 1}, ${sizeOf(p)}`;
    fit(image, $("scalebar"), p, $("plate").clientWidth - 24, $("plate").clientHeight - 24);
  }
  const facts = [sizeOf(p), p.time.replace("T", " ").replace("Z", " UTC"), p.bin].filter(Boolean);
  $("facts").append(...facts.map((text) => make("span", text)));
  if (predicted) $("facts").append(make("span", `predicted: ${predicted[at]}`, "model"));
  const said = [labelText(labels.get(p.id)), ...Object.entries(others[p.id] || {}).map(([name, [label, finer]]) => `${name}: ${labelText({ label, taxon: finer })}`)];
  $("given").textContent = said.filter(Boolean).join("; ");
  pressed();
  prefetch();
  follow();
}

function prefetch() {
  let wanted = AHEAD;
  for (let order = at + 1; order < particles.length && wanted; order += 1) {
    if (labels.has(particles[order].id) || particles[order].problem) continue;
    new Image().src = `pictures/${order}`;
    wanted -= 1;
  }
}

function pressed() {
  const p = at === null ? null : particles[at];
  const given = !grid.on && p ? labels.get(p.id) : null;
  for (const button of $("labels").children) {
    button.setAttribute("aria-pressed", String(given?.label === button.dataset.label));
    button.disabled = !grid.on && (!p || Boolean(p.problem));
  }
  const text = taxon || given?.taxon || "";
  $("taxon").replaceChildren(...(text ? [text, make("small", taxon ? " · now its label" : "")] : []));
}

function counts() {
  const many = {};
  for (const { label } of labels.values()) many[label] = (many[label] || 0) + 1;
  countLabels(many);
}

function showReached(reached) {
  $("bar").max = Math.max(1, reached.pictured);
  $("bar").value = reached.labelled;
  const without = reached.without_picture ? `, ${number(reached.without_picture)} without a picture` : "";
  $("reached").textContent = `${number(reached.labelled)} of ${number(reached.pictured)} labelled${without}`;
}

// ---- the grid

function showGrid() {
  const shown = visible();
  if (grid.first >= shown.length) grid.first = Math.max(0, Math.floor((shown.length - 1) / CELLS) * CELLS);
  const page = shown.slice(grid.first, grid.first + CELLS);
  grid.focus = Math.max(0, Math.min(grid.focus, page.length - 1));
  const hadFocus = $("grid").contains(document.activeElement) || document.activeElement === document.body;
  $("grid").replaceChildren(...page.map((p, index) => {
    const order = p.order;
    const item = make("li");
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(grid.selected.has(order)));
    item.tabIndex = index === grid.focus ? 0 : -1;
    item.dataset.order = order;
    const cell = make("div", undefined, "cell");
    if (p.problem) {
      cell.textContent = "no picture";
      item.title = p.problem;
    } else {
      const image = make("img");
      image.alt = "";
      image.loading = "lazy";
      image.src = `pictures/${order}`;
      const bar = make("div", undefined, "scalebar");
      bar.append(make("i"), make("span"));
      cell.append(image, bar);
      fit(image, bar, p, 108, 106);
    }
    const line = make("p");
    const given = labels.get(p.id);
    if (given) line.append(make("b", labelText(given)), " ");
    for (const [name, [label, finer]] of Object.entries(others[p.id] || {})) line.append(`${name}: ${labelText({ label, taxon: finer })} `);
    if (predicted) line.append(make("span", predicted[order], "model"), " ");
    line.append(p.esd_um ? `${number(Math.round(p.esd_um))} µm` : `${p.width_px} × ${p.height_px} px`);
    item.append(cell, line);
    item.setAttribute("aria-label", `Particle ${order + 1}, ${line.textContent}${p.problem ? ", no picture" : ""}`);
    item.onclick = () => { focusCell(index); select(order); };
    item.ondblclick = () => { grid.selected.clear(); switchGrid(false, order); };
    return item;
  }));
  if (!page.length) $("grid").replaceChildren(make("li", "No particle is so."));
  $("place").textContent = shown.length ? `${number(grid.first + 1)} to ${number(grid.first + page.length)} of ${number(shown.length)}` : "";
  if (hadFocus) $("grid").children[grid.focus]?.focus({ preventScroll: true });
  pressed();
}

function focusCell(index) {
  const cells = $("grid").children;
  if (!cells.length) return;
  cells[grid.focus]?.setAttribute("tabindex", "-1");
  grid.focus = Math.max(0, Math.min(index, cells.length - 1));
  cells[grid.focus].tabIndex = 0;
  cells[grid.focus].focus();
}

function select(order) {
  if (grid.selected.has(order)) grid.selected.delete(order);
  else grid.selected.add(order);
  for (const item of $("grid").children) item.setAttribute("aria-selected", String(grid.selected.has(Number(item.dataset.order))));
  tell(`${number(grid.selected.size)} selected`);
}

function inRow() {
  const cells = [...$("grid").children];
  const many = cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop);
  return many < 0 ? cells.length : many;
}

function turn(step) {
  const next = grid.first + step * CELLS;
  if (next < 0 || next >= visible().length) return;
  grid.first = next;
  grid.focus = 0;
  grid.selected.clear();
  showGrid();
}

function switchGrid(on, order = at) {
  grid = { on, first: 0, focus: 0, selected: new Set() };
  $("grid-switch").setAttribute("aria-pressed", String(on));
  $("one").hidden = on;
  $("grid").hidden = !on;
  $("skip").firstChild.data = on ? "Next page " : "Skip ";
  if (on) {
    const place = visible().findIndex((p) => p.order === order);
    if (place >= 0) grid = { ...grid, first: Math.floor(place / CELLS) * CELLS, focus: place % CELLS };
    showGrid();
    $("grid").children[grid.focus]?.focus();
  } else {
    at = order;
    showOne();
  }
}

const show = () => (grid.on ? showGrid() : showOne());

// ---- labels

async function save(orders, label, finer, expected) {
  if (saving || !orders.length) return null;
  saving = true;
  const choices = orders.map((order, index) => ({ order, label: [label].flat()[index] ?? label, taxon: [finer].flat()[index] ?? "" }));
  try {
    const answer = await call("labels", { labeller: who, stratum: stratum(), choices, ...(expected ? { expected } : {}) });
    choices.forEach((choice) => {
      const { id } = particles[choice.order];
      if (choice.label) labels.set(id, { label: choice.label, taxon: choice.taxon });
      else labels.delete(id);
      delete others[id]; // asked for again below
    });
    fail(null);
    counts();
    showReached(answer.reached);
    Density.refresh();
    return { choices, answer };
  } catch (error) {
    fail(error);
    return null;
  } finally {
    saving = false;
  }
}

async function give(label) {
  const here = grid.on ? chosenCells() : at === null ? [] : [at];
  const orders = here.filter((order) => !particles[order].problem);
  if (!orders.length) {
    if (here.length) tell("Without a picture there is nothing to judge by: skip it.");
    return;
  }
  const list = visible(); // before the label changes it
  const saved = await save(orders, label, orders.map(() => taxon));
  if (!saved) return;
  const { choices, answer } = saved;
  done.push({ given: choices, former: choices.map((choice, i) => ({ order: choice.order, label: answer.former[i][0], taxon: answer.former[i][1] })) });
  const finer = taxon ? ` (${taxon})` : "";
  tell(orders.length === 1 ? `Particle ${number(orders[0] + 1)}: ${label}${finer}, saved` : `${number(orders.length)} particles: ${label}${finer}, saved`);
  taxon = "";
  if (grid.on) {
    grid.selected.clear();
    if ($("filter").value !== "unlabelled") grid.focus += 1;
    showGrid();
  } else {
    at = $("filter").value === "unlabelled" ? answer.next : follower(list, orders[0]);
    showOne();
  }
  compare();
}

const chosenCells = () => (grid.selected.size ? [...grid.selected].sort((a, b) => a - b)
  : $("grid").children[grid.focus]?.dataset.order ? [Number($("grid").children[grid.focus].dataset.order)] : []);

/** The next of a list behind an order; at its end the last stays. */
function follower(list, order) {
  const next = list.find((p) => p.order > order);
  return next ? next.order : order;
}

async function undo() {
  const last = done[done.length - 1];
  if (!last || saving) {
    if (!last) tell("Nothing to take back.");
    return;
  }
  const saved = await save(last.given.map((choice) => choice.order), last.former.map((choice) => choice.label), last.former.map((choice) => choice.taxon), last.given);
  done.pop(); // also where another window was before us: it cannot be taken back any more
  if (!saved) return;
  at = last.given[0].order;
  tell(last.given.length === 1 ? `Particle ${number(at + 1)}: taken back` : `${number(last.given.length)} labels taken back`);
  show();
  compare();
}

async function skip() {
  if (grid.on) {
    turn(1);
    return;
  }
  if (at === null || saving) return;
  if ($("filter").value === "unlabelled") {
    try {
      const { next, reached } = await call(`next?${query({ labeller: who, stratum: stratum(), after: at })}`);
      showReached(reached);
      if (next === null) tell("This is the only one left.");
      else at = next;
    } catch (error) {
      fail(error);
    }
  } else {
    at = follower(visible(), at);
  }
  taxon = "";
  showOne();
}

function back() {
  if (grid.on) {
    turn(-1);
    return;
  }
  const from = at === null ? particles.length : at;
  // of the unlabelled, back leads to the one just labelled
  const list = $("filter").value === "unlabelled" ? particles.filter((p) => !stratum() || p.stratum === stratum()) : visible();
  const before = list.filter((p) => p.order < from).pop();
  if (before) at = before.order;
  taxon = "";
  showOne();
}

async function compare() {
  if (about.labellers.filter((name) => name !== who).length === 0) return;
  let answer;
  try {
    answer = await call(`agreement?${query({ labeller: who })}`);
  } catch {
    return;
  }
  others = answer.disagreements;
  const rows = Object.entries(answer.agreements).filter(([, its]) => its.particles);
  $("agreements").hidden = !rows.length;
  $("agreement").replaceChildren(...rows.map(([name, its]) => make("p", its.kappa === null
    ? `With ${name}: ${number(its.same)} of ${plural(its.particles, "particle", "particles")} alike.`
    : `With ${name}: ${number(its.same)} of ${plural(its.particles, "particle", "particles")} alike, Cohen's kappa ${its.kappa.toFixed(2)} (95 % interval ${its.low.toFixed(2)} to ${its.high.toFixed(2)}).`)));
  if ($("filter").value === "differing") show();
}

// ---- finer taxa

/** A particle with a label keeps it and gets the taxon at once; else the label comes next. */
async function choose(name) {
  const p = !grid.on && at !== null ? particles[at] : null;
  const given = p ? labels.get(p.id) : null;
  taxon = name;
  if (given) await give(given.label);
  else {
    pressed();
    if (name) tell(`${name}: now its label`);
  }
}

// ---- keys

const STEERING = {
  g: () => switchGrid(!grid.on, grid.on ? Number($("grid").children[grid.focus]?.dataset.order ?? at) : at),
  p: () => showPredicted(),
  t: Taxa.open,
  z: undo,
  f: () => $("filter").focus(),
  "?": () => $("help").showModal(),
  ArrowRight: () => (grid.on ? focusCell(grid.focus + 1) : skip()),
  ArrowLeft: () => (grid.on ? focusCell(grid.focus - 1) : back()),
  ArrowDown: () => { if (grid.on) focusCell(grid.focus + inRow()); },
  ArrowUp: () => { if (grid.on) focusCell(grid.focus - inRow()); },
  PageDown: () => turn(1),
  PageUp: () => turn(-1),
  x: () => {
    if (!grid.on) return;
    const all = [...$("grid").children].map((item) => Number(item.dataset.order)).filter((order) => !Number.isNaN(order));
    grid.selected = new Set(grid.selected.size === all.length ? [] : all);
    for (const item of $("grid").children) item.setAttribute("aria-selected", String(grid.selected.has(Number(item.dataset.order))));
    tell(`${number(grid.selected.size)} selected`);
  },
};
const ONLY_IN_GRID = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "x"]);

addEventListener("keydown", (event) => {
  if (!about || !who || document.querySelector("dialog[open]")) return;
  const undoing = (event.ctrlKey || event.metaKey) && event.key === "z";
  if (event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (grid.on && key === " " && event.target.closest("#grid")) {
    const cell = $("grid").children[grid.focus];
    if (cell?.dataset.order) select(Number(cell.dataset.order));
  } else if (grid.on && key === "Enter" && event.target.closest("#grid")) {
    switchGrid(false, Number(event.target.closest("li").dataset.order));
  } else if (STEERING[key] && (grid.on || !ONLY_IN_GRID.has(key))) {
    STEERING[key]();
  } else {
    const label = about.labels.find((entry) => entry.key && entry.key === key);
    if (!label) return;
    // a key that is held down must not label what nobody has looked at
    if (!event.repeat) give(label.name);
  }
  event.preventDefault();
});

async function showPredicted() {
  if (predicted) predicted = null;
  else {
    try {
      predicted = await call("predicted");
    } catch (error) {
      fail(error);
      return;
    }
  }
  $("predicted-switch").setAttribute("aria-pressed", String(Boolean(predicted)));
  show();
}

// ---- the beginning

async function open(name) {
  who = name;
  $("who").textContent = name;
  const answer = await call(`sample?${query({ labeller: name, stratum: stratum() })}`);
  particles = answer.particles.map((p, order) => ({ ...p, order }));
  labels = new Map(Object.entries(answer.labels).map(([id, [label, finer]]) => [id, { label, taxon: finer }]));
  others = {};
  done = [];
  taxon = "";
  at = answer.next;
  counts();
  showReached(answer.reached);
  show();
  follow();
  compare();
}

let followed = "";
/** The density is of the stratum chosen, or of the particle shown; where none is left it stays. */
function follow() {
  const here = stratum() || (at === null ? followed.split("\n")[1] || about.strata[0] : particles[at].stratum);
  if (`${who}\n${here}` !== followed) {
    followed = `${who}\n${here}`;
    Density.start(who, here);
  }
}

// ---- in pi10 serve: correct all results by the labels

const pause = (ms) => new Promise((later) => setTimeout(later, ms));
const CORRECTING = { estimating: "Correcting the densities…", writing: "Writing the report…" };

async function correct() {
  $("correct").disabled = true;
  $("corrected").textContent = "Waiting for a free worker…";
  try {
    let { job } = await call(about.served.correct, {});
    while (job?.kind === "correct" && job.state === "working") {
      $("corrected").textContent = CORRECTING[job.progress.step] || "Waiting for a free worker…";
      await pause(300);
      ({ job } = await call(about.served.status));
    }
    if (!job?.result) throw new Problem(job?.error?.message || "The densities were not corrected; try again.");
    const { result } = job;
    const link = make("a", "See the results");
    link.href = about.served.results;
    const none = result.rows.every((row) => row.per_litre === null);
    const yet = none ? "Not corrected yet" : "Done, but not to be published yet";
    const text = result.publishable ? `Done, by ${plural(result.labelled, "label", "labels")}: the densities may be published. `
      : `${yet}: ${result.notes.join("; ")}. `;
    const left = result.contradicting ? `${plural(result.contradicting, "particle has", "particles have")} contradicting labels and ${result.contradicting === 1 ? "is" : "are"} left out. ` : "";
    $("corrected").replaceChildren(text, left, link);
  } catch (error) {
    $("corrected").textContent = error.message;
  } finally {
    $("correct").disabled = false;
  }
}

/** As pi10 validate import reads them. */
function rescue() {
  const cell = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [...labels].map(([id, given]) => [id, given.label, who, given.taxon].map(cell).join(","));
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([["particle_id,label,labeller,taxon", ...lines].join("\n"), "\n"], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

$("correct").onclick = correct;
$("rescue").onclick = rescue;

function askName() {
  $("name").value = who;
  $("name-dialog").showModal();
  $("name").select();
}

$("name-form").onsubmit = () => {
  const name = $("name").value.trim().replace(/\s+/g, " ");
  if (!name || name === who) return;
  if (!about.labellers.includes(name)) about.labellers.push(name);
  open(name).catch(fail);
};
// without a name there is nothing to do
$("name-dialog").oncancel = (event) => { if (!who) event.preventDefault(); };
$("who").onclick = askName;
$("skip").onclick = () => skip();
$("back").onclick = back;
$("undo").onclick = undo;
$("grid-switch").onclick = STEERING.g;
$("predicted-switch").onclick = showPredicted;
$("filter").onchange = async () => {
  $("filter").blur(); // keys label again
  grid.first = grid.focus = 0;
  grid.selected.clear();
  await restart();
};
$("stratum").onchange = $("filter").onchange;

async function restart() {
  try {
    await compare();
    const state = await call(`next?${query({ labeller: who, stratum: stratum(), after: -1 })}`);
    showReached(state.reached);
    at = $("filter").value === "unlabelled" ? state.next : visible()[0]?.order ?? null;
    follow();
    show();
  } catch (error) {
    fail(error);
  }
}

// the mouse must not leave the focus on a button, where Space would press it again
for (const id of ["labels", "steps", "tools", "finer"]) {
  $(id).addEventListener("mousedown", (event) => { if (event.target.closest("button")) event.preventDefault(); });
}
addEventListener("resize", () => { if (!grid.on && at !== null) showOne(); });

function option(value, text) {
  const element = make("option", text);
  element.value = value;
  return element;
}

call("about").then(async (answer) => {
  about = answer;
  document.title = `Label particles: ${about.run.split("/").pop()}`;
  $("kept").hidden = $("correction").hidden = !about.served;
  if (about.served) {
    $("to-results").href = about.served.results;
    $("to-labels").href = `${about.served.files}labels.csv`;
    $("to-sample").href = `${about.served.files}sample.csv`;
  }
  drawLabels(about.labels, give);
  $("filter").replaceChildren(
    option("unlabelled", "unlabelled"), option("all", "all"), option("labelled", "all labelled"),
    ...about.labels.map((entry) => option(`class:${entry.name}`, `labelled ${spoken(entry.name)}`)),
    option("differing", "labelled differently by others"), option("pictureless", "without a picture"),
  );
  $("stratum").replaceChildren(option("", "all"), ...about.strata.map((name) => option(name, name)));
  $("stratum-choice").hidden = about.strata.length < 2;
  if (about.taxa) {
    Taxa.offer({
      find: (text) => call(`taxa?${query({ text })}`), choose,
      none: about.served ? "None of this name." : "None; more taxa: pi10 validate label --taxa FILE",
    });
  }
  $("names").replaceChildren(...about.labellers.map((name) => option(name)));
  drawKeys([
    ...about.labels.filter((entry) => entry.key).map((entry) => [entry.key, spoken(entry.name)]),
    ["→ ←", "skip, back; in the grid: move"], ["z", "undo"], ...(about.taxa ? [["t", "finer taxon"]] : []),
    ["g", "grid"], ["Space, x", "grid: select, select all"], ["Page ↓ ↑", "grid: next, last page"], ["Enter", "grid: show large"],
    ["p", "show the predicted class"], ["f", "filter"], ["?", "these keys"],
  ]);
  if (about.labeller) await open(about.labeller);
  else askName();
}).catch(fail);

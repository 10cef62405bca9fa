"use strict";
// All addresses are relative to this page, whose own address holds the secret.

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-GB");
const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;

let about = null;
let view = null;
let busy = false;
let taxon = ""; // chosen for the next name

const GONE = "The program no longer answers. Every answer it has confirmed is on the disk: start it again with pi10 sort, and go on at the address it prints.";

class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function call(address, body) {
  let response;
  try {
    response = await fetch(address, body ? {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    } : {});
  } catch {
    throw new Problem(GONE);
  }
  let answer = null;
  try { answer = await response.json(); } catch { /* told by the status */ }
  if (!response.ok) {
    throw new Problem(answer?.error?.message || `The program answered with status ${response.status}.`, response.status);
  }
  return answer;
}

function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function fail(error) {
  $("problem").hidden = !error;
  $("problem-text").textContent = error ? error.message : "";
}

const tell = (text) => { $("told").textContent = text; };

/** Send an answer to what is shown; the program's answer is what is asked next. */
async function answer(kind, fields = {}) {
  if (busy || !view) return;
  busy = true;
  document.body.classList.add("busy");
  if (kind === "round") $("question").textContent = "Finding clusters …";
  try {
    view = await call("answer", { kind, step: view.step, ...fields });
    fail(null);
  } catch (error) {
    fail(error);
    if (error.status === 409) view = await call("view").catch(() => view);
  }
  busy = false;
  document.body.classList.remove("busy");
  show();
  // clusters of a new round are found without being asked for
  if (view.stage === "end" && !view.finished && $("problem").hidden) await answer("round");
}

// ---- what is shown

const QUESTION = {
  seed: "Are these of one kind?",
  grow: "Do all of these belong to it?",
  name: "This is the whole cluster",
  end: "No more clusters",
};
const YES = { seed: "One kind: show the nearest others", grow: "All belong: go on" };
const NO = { seed: "Mixed: leave it", grow: "Not all belong: go back", name: "Leave it without a name" };

function show() {
  const { stage } = view;
  const done = about.particles - view.left;
  $("bar").max = about.particles;
  $("bar").value = done;
  $("reached").textContent = `${number(done)} of ${number(about.particles)} named, ${plural(view.clusters_named, "cluster", "clusters")}`;
  $("question").textContent = QUESTION[stage];
  const parts = [];
  if (stage !== "end") {
    parts.push(`Cluster ${number(view.cluster)} of ${number(view.of)}, round ${number(view.round)}`);
    if (stage === "seed") parts.push(view.rows.length < view.gathered ? `${number(view.rows.length)} of its ${number(view.gathered)} particles, the most typical first` : plural(view.gathered, "particle", "particles"));
    if (stage === "grow") parts.push(`${plural(view.members, "particle", "particles")} so far`);
    if (stage === "name" && view.rows.length < view.gathered) parts.push(`the ${number(view.rows.length)} that came last are shown`);
    parts.push("click what does not belong");
  }
  $("about-cluster").textContent = parts.join("; ");
  $("end").hidden = stage !== "end";
  $("end").textContent = view.finished
    ? `Nothing dense is left among the ${plural(view.left, "particle", "particles")} without a name. Names are in the labels of the run; end the program with Ctrl-C.`
    : "";
  drawPictures();
  $("choices").hidden = stage === "end";
  $("yes").hidden = !YES[stage];
  $("yes-text").textContent = YES[stage] || "";
  $("no-text").textContent = NO[stage] || "";
  $("stop").hidden = stage !== "grow";
  $("goes-to").textContent = stage === "end" ? "" : `A key or click names all ${number(view.members)}.`;
  $("undo").disabled = !view.can_undo;
  $("mode").setAttribute("aria-pressed", String(view.paged));
  for (const button of $("labels").children) {
    button.disabled = stage === "end" || !view.members;
    button.querySelector(".count").textContent = number(view.names[button.dataset.name] || 0);
  }
  $("taxon").textContent = taxon;
}

let drawn = ""; // of which rows

function drawPictures() {
  const out = new Set(view.out);
  const key = view.rows.join();
  if (key !== drawn) {
    drawn = key;
    $("pictures").replaceChildren(...view.rows.map((row, index) => {
      const item = make("li");
      const button = make("button");
      button.type = "button";
      button.dataset.row = row;
      const image = make("img");
      image.src = `pictures/${row}`;
      image.alt = `Particle ${index + 1} of ${view.rows.length}`;
      button.append(image);
      button.onclick = () => answer("out", { row });
      item.append(button);
      return item;
    }));
    scrollTo({ top: 0 });
  }
  for (const button of $("pictures").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(out.has(Number(button.dataset.row))));
  }
}

const CHOICES = {
  yes: { seed: "fits", grow: "yes" },
  no: { seed: "mixed", grow: "no", name: "mixed" },
};

function choose(way) {
  const kind = CHOICES[way][view?.stage];
  if (kind) answer(kind);
}

async function name(label) {
  if (!view || view.stage === "end" || busy) return;
  const size = view.members;
  const finer = taxon;
  taxon = "";
  await answer("name", { label, taxon: finer });
  if ($("problem").hidden) tell(`${plural(size, "particle", "particles")}: ${label}${finer ? ` (${finer})` : ""}`);
}

async function undo() {
  if (!view?.can_undo) return;
  await answer("undo");
  if ($("problem").hidden) tell("Taken back");
}

// ---- finer taxa

let searched = 0;

async function search() {
  const mine = ++searched;
  const text = new URLSearchParams({ text: $("taxon-text").value }).toString();
  const rows = await call(`taxa?${text}`).catch((error) => { fail(error); return []; });
  if (mine !== searched) return;
  $("taxa").replaceChildren(...rows.map((row, index) => {
    const item = make("li", row.name);
    item.id = `taxon-${index}`;
    item.setAttribute("role", "option");
    item.append(make("small", [row.rank, row.aphia_id].filter(Boolean).join(" · ")));
    item.dataset.name = row.name;
    item.onclick = () => setTaxon(row.name);
    return item;
  }));
  if (!rows.length && $("taxon-text").value) $("taxa").replaceChildren(make("li", "None; more taxa: pi10 sort --taxa FILE"));
  mark(0);
}

function mark(index) {
  const items = [...$("taxa").children].filter((item) => item.dataset.name);
  const chosen = (index + items.length) % Math.max(1, items.length);
  items.forEach((item, i) => item.setAttribute("aria-selected", String(i === chosen)));
  if (items.length) {
    $("taxon-text").setAttribute("aria-activedescendant", items[chosen].id);
    items[chosen].scrollIntoView({ block: "nearest" });
  }
}

function setTaxon(chosen) {
  $("taxon-dialog").close();
  taxon = chosen;
  $("taxon").textContent = chosen;
  if (chosen) tell(`${chosen}: now the label of the cluster`);
}

function openTaxa() {
  if (!about.taxa) return;
  $("taxon-text").value = "";
  $("taxon-dialog").showModal();
  search();
}

$("taxon-text").oninput = search;
$("taxon-text").onkeydown = (event) => {
  const items = [...$("taxa").children].filter((item) => item.dataset.name);
  const marked = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown") mark(marked + 1);
  else if (event.key === "ArrowUp") mark(marked - 1);
  else if (event.key === "Enter" && marked >= 0) setTaxon(items[marked].dataset.name);
  else return;
  event.preventDefault();
};

// ---- keys and buttons

const STEERING = {
  Enter: () => choose("yes"),
  x: () => choose("no"),
  f: () => { if (view?.stage === "grow") answer("stop"); },
  g: () => answer("mode", { paged: !view.paged }),
  z: undo,
  t: openTaxa,
  "?": () => $("help").showModal(),
};
const HELP = [
  ["Enter", "yes: of one kind, or all belong"], ["x", "no: mixed, or not all belong"],
  ["a click, or Space", "take a particle out of the cluster, or put it back"],
  ["f", "stop growing, and look at the cluster"], ["the key of a label", "name the cluster; the next one comes"],
  ["t", "a finer taxon beside the label"], ["z", "take the last answer back"],
  ["g", "look at every page while it grows, or at ever farther ones"],
];

$("yes").onclick = STEERING.Enter;
$("no").onclick = STEERING.x;
$("stop").onclick = STEERING.f;
$("mode").onclick = STEERING.g;
$("undo").onclick = undo;
$("taxon-open").onclick = openTaxa;
$("taxon-close").onclick = () => $("taxon-dialog").close();
$("taxon-none").onclick = () => setTaxon("");
$("help-open").onclick = STEERING["?"];
$("help-close").onclick = () => $("help").close();

addEventListener("keydown", (event) => {
  if (!about || document.querySelector("dialog[open]") || event.target.closest("input")) return;
  const undoing = (event.ctrlKey || event.metaKey) && event.key === "z";
  if (event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Enter on a button of the page is that button; on a picture it is the answer
  if (key === "Enter" && event.target.closest("button") && !event.target.closest("#pictures")) return;
  const label = about.labels.find((entry) => entry.key && entry.key === key);
  if (!STEERING[key] && !label) return;
  event.preventDefault();
  // a key that is held down must not answer what nobody has looked at
  if (event.repeat) return;
  if (STEERING[key]) STEERING[key]();
  else name(label.name);
});

async function start() {
  try {
    about = await call("about");
    view = await call("view");
  } catch (error) {
    fail(error);
    return;
  }
  $("who").textContent = about.labeller;
  $("finer").hidden = !about.taxa;
  $("labels").replaceChildren(...about.labels.map((entry) => {
    const button = make("button");
    button.type = "button";
    button.dataset.name = entry.name;
    if (entry.key) button.setAttribute("aria-keyshortcuts", entry.key);
    const text = make("span", entry.name, "name");
    if (entry.meaning) text.append(make("small", entry.meaning));
    button.append(make("kbd", entry.key), text, make("span", "0", "count"));
    button.onclick = () => name(entry.name);
    return button;
  }));
  $("keys").replaceChildren(...HELP.flatMap(([key, meaning]) => [make("dt", key), make("dd", meaning)]));
  show();
  if (view.stage === "end" && !view.finished) await answer("round");
}

start();

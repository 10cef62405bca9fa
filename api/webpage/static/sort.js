"use strict";
let about = null;
let view = null;
let busy = false;
let taxon = ""; // chosen for the next name

const GONE = "The program no longer answers. Every answer it has confirmed is on the disk: start it again with pi10 sort, and go on at the address it prints.";

const call = (address, body) => ask(GONE, address, body);

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
  }
  countLabels(view.names);
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
  if ($("problem").hidden) tell(`${plural(size, "particle", "particles")}: ${spoken(label)}${finer ? ` (${finer})` : ""}`);
}

async function undo() {
  if (!view?.can_undo) return;
  await answer("undo");
  if ($("problem").hidden) tell("Taken back");
}

function setTaxon(chosen) {
  taxon = chosen;
  $("taxon").textContent = chosen;
  if (chosen) tell(`${chosen}: now the label of the cluster`);
}

// ---- keys and buttons

const STEERING = {
  Enter: () => choose("yes"),
  x: () => choose("no"),
  f: () => { if (view?.stage === "grow") answer("stop"); },
  g: () => answer("mode", { paged: !view.paged }),
  z: undo,
  t: Taxa.open,
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
  if (about.taxa) {
    Taxa.offer({
      find: (text) => call(`taxa?${query({ text })}`), choose: setTaxon,
      none: "None; more taxa: pi10 sort --taxa FILE",
    });
  }
  drawLabels(about.labels, name);
  drawKeys(HELP);
  show();
  if (view.stage === "end" && !view.finished) await answer("round");
}

start();

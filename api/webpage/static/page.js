"use strict";
// All addresses are relative to this page, so that it works under any path prefix.

const $ = (id) => document.getElementById(id);
const PAGE_SIZE = 60;
const FILES = [
  ["report.html", "Open the report"],
  ["bins.csv", "Densities (CSV)"],
  ["predictions.csv", "Predictions (CSV)"],
  ["predictions.parquet", "Predictions (Parquet)"],
  ["results.zip", "Everything (zip)"],
];
const FLAGS = {
  below_threshold: "below threshold",
  no_silhouette: "no outline found",
  touches_border: "touches the border",
  no_datetime: "no date",
};
const STEPS = {
  classifying: "Classifying",
  drawing: "Drawing the report and the pictures of",
};

let limit = Infinity;
let job = { turn: 0, request: null, id: "" }; // a later upload outdates an earlier one
let view = { id: "", page: null, label: "", order: "given", many: PAGE_SIZE };
const VALIDATION_FILES = [
  ["corrected.csv", "Corrected densities (CSV)"],
  ["corrected_bins.csv", "Corrected by bin (CSV)"],
  ["labels.csv", "Labels (CSV)"],
  ["sample.csv", "Sample (CSV)"],
];
const JOB_STEPS = {
  drawing: "Drawing the sample",
  pictures: "Reading the pictures of the sample",
  estimating: "Correcting the densities",
  writing: "Writing the report",
};

const number = (value) => value.toLocaleString("en-GB");
const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
const size = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB`
    : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);
// three digits that count; never 1.2e-5, which not everybody reads
const digits = (value) => value.toLocaleString("en-GB", { maximumSignificantDigits: 3 });
const surest = (scores) => (scores.length ? Math.max(...scores) : 0); // a blank image has none
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function paint(element, index, share) {
  element.style.setProperty("--colour", `var(--c${index % 8})`);
  if (share !== undefined) element.style.setProperty("--share", `${100 * share}%`);
  return element;
}

function meter(index, share) {
  const outer = make("span", undefined, "meter");
  outer.setAttribute("aria-hidden", "true");
  outer.append(paint(make("i"), index, share));
  return outer;
}

// ---- what stands on the page

function show(section) {
  for (const id of ["working", "problem", "results"]) $(id).hidden = id !== section;
  $("upload").classList.toggle("small", section === "working" || section === "results");
}

function fail(title, message, code) {
  $("problem-title").textContent = title;
  $("problem-text").textContent = message;
  $("problem-code").textContent = code ? `Code: ${code}` : "";
  show("problem");
}

function progress(text, share) {
  $("step").textContent = text;
  if (share === undefined) $("bar").removeAttribute("value");
  else $("bar").value = share;
}

// ---- uploading

async function entriesOf(items) {
  // folders that are dropped are walked; readEntries gives them a hundred at a time
  const found = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!some.length) break;
        for (const inner of some) await walk(inner);
      }
    }
  }
  for (const entry of items) await walk(entry);
  return found;
}

function chosen(input) {
  return [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
}

async function start(files) {
  stop();
  const turn = ++job.turn;
  history.replaceState(null, "", location.pathname + location.search);
  if (!files.length) {
    fail("Nothing to classify", "It holds no file. Choose images, a tar or a zip.", "");
    return;
  }
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  if (bytes > limit) {
    fail("Too large", `${size(bytes)} were chosen; this service takes at most ${size(limit)} at once. Send them in parts.`, "too_large");
    return;
  }
  const form = new FormData();
  for (const { file, name } of files) form.append("data", file, name);
  show("working");
  $("h-working").textContent = files.length === 1 ? files[0].name : `${number(files.length)} files`;
  progress("Uploading", 0);
  let answer;
  try {
    answer = await send(form, bytes);
  } catch (error) {
    if (turn === job.turn) fail(error.title, error.message, error.code);
    return;
  }
  if (turn !== job.turn) return;
  job.id = answer.id;
  await watch(answer.id, turn, files.length);
}

class Problem extends Error {
  constructor(title, message, code) {
    super(message);
    this.title = title;
    this.code = code;
  }
}

function send(form, bytes) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    job.request = request;
    request.open("POST", "runs");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) {
        const part = Math.min(1, event.loaded / event.total);
        progress(`Uploading: ${size(part * bytes)} of ${size(bytes)}`, part);
      }
    };
    request.upload.onload = () => progress("Uploaded; waiting for a free worker");
    request.onload = () => {
      if (request.status === 201) done(request.response);
      else failed(problemOf(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => failed(new Problem("No connection", "The service did not answer. Check that it runs and that the network is there, then try again.", ""));
    request.onabort = () => failed(new Problem("Cancelled", "The upload was stopped.", "cancelled"));
    request.send(form);
  });
}

function problemOf(status, body, retry) {
  const error = (body && body.error) || {};
  const code = error.code || `http_${status}`;
  if (status === 503) {
    return new Problem("The service is busy", `${error.message || "No room at the moment"}. Try again in ${retry || "a few"} seconds.`, code);
  }
  return new Problem("That did not work", error.message || `The service answered with status ${status}.`, code);
}

async function get(address) {
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new Problem("No connection", "The service no longer answers. Check that it runs, then reload this page.", "");
  }
  let body = null;
  try { body = await response.json(); } catch { /* said by the status */ }
  if (!response.ok) throw problemOf(response.status, body, response.headers.get("Retry-After"));
  return body;
}

async function watch(id, turn, files) {
  let pause = 200;
  let lost = 0;
  while (turn === job.turn) {
    let status;
    try {
      status = await get(`runs/${id}`);
      lost = 0;
    } catch (error) {
      if (turn !== job.turn) return;
      if (error.code === "" && ++lost < 5) { // a moment without network costs nothing
        await sleep(1000);
        continue;
      }
      fail(error.title, error.message, error.code);
      return;
    }
    if (turn !== job.turn) return;
    if (status.state === "done") {
      try {
        await open(id, turn, status);
      } catch (error) {
        fail(error.title || "That did not work", error.message, error.code || "");
      }
      return;
    }
    if (status.state === "failed") {
      fail("That did not work", status.error.message, status.error.code);
      return;
    }
    if (status.state === "cancelled") {
      fail("Cancelled", "The work was stopped; nothing is kept.", "cancelled");
      return;
    }
    const { step, inputs, total } = status.progress;
    if (status.state === "waiting") progress("Uploaded; waiting for a free worker");
    else if (!inputs) progress("Reading");
    else {
      const of = step === "classifying" && files > 1 && inputs <= files ? ` of ${number(files)}` : "";
      progress(`${STEPS[step] || step}: ${number(inputs)}${of} files`, of ? inputs / files : undefined);
    }
    await sleep(pause);
    pause = Math.min(1500, pause * 1.25);
  }
}

function stop() {
  if (job.request) job.request.abort();
  if (job.id) fetch(`runs/${job.id}`, { method: "DELETE" }).catch(() => {});
  job = { turn: job.turn + 1, request: null, id: "" };
}

// ---- results

async function open(id, turn, status) {
  const page = await get(`runs/${id}/page`);
  if (turn !== job.turn) return;
  job.id = ""; // done: it is kept for an hour, and not removed by the next upload
  view = { id, page, label: "", order: "given", many: PAGE_SIZE, drawn: status.drawn };
  $("order").value = "given";
  history.replaceState(null, "", `#${id}`);
  fill();
  fillValidation(status);
  if (status.job?.state === "working") follow(id, turn).catch(jobFailed);
  show("results");
  $("h-results").focus({ preventScroll: true });
}

function fill() {
  const { page, id } = view;
  fillDensities();
  const totals = page.totals;
  const tiles = [["Inputs", "inputs"], ["Results", "results"], ["Failures", "failures"], ["Skipped", "skipped"]];
  $("totals").replaceChildren(...tiles.map(([title, key]) => {
    const tile = make("div", undefined, key === "failures" && totals[key] ? "some" : "");
    tile.append(make("dt", title), make("dd", number(totals[key])));
    return tile;
  }));
  const [first, many] = page.uploads;
  $("what").textContent = `${many === 1 ? first : `${number(many)} files`}: ${plural(totals.inputs, "input", "inputs")} in ${page.seconds < 10 ? page.seconds.toFixed(1) : Math.round(page.seconds)} s, by the model ${page.model.name} ${page.model.version}. Results and labels are kept for an hour after the last request, under this page's address: download what you need.`;
  $("none").hidden = totals.results > 0;
  $("none").textContent = totals.failures
    ? `No image could be classified: ${plural(totals.failures, "file has", "files have")} no result, for the reasons below.`
    : totals.inputs ? "It holds no image; other files were skipped."
      : "It is empty: nothing to classify.";
  $("seen").hidden = !page.never_seen || !totals.results;
  $("seen-text").textContent = page.never_seen;
  $("warnings").hidden = !page.warnings.length;
  $("warnings").replaceChildren(...page.warnings.map((text) => make("li", text)));
  const validated = VALIDATION_FILES.filter(([name]) => page.corrected || (view.drawn && !name.startsWith("corrected")));
  $("links").replaceChildren(...[...FILES, ...validated].map(([name, title], index) => {
    const link = make("a", title, index ? "button second" : "button");
    link.href = `runs/${id}/files/${name}`;
    if (index) link.download = name;
    else link.target = "_blank";
    return link;
  }));
  fillClasses();
  fillFailures();
  $("found").hidden = !page.particles.length;
  fillParticles();
}

function fillDensities() {
  const { page } = view;
  const rows = page.densities;
  $("density").hidden = !rows.length;
  $("densities").replaceChildren(...rows.map((found) => {
    const row = make("tr");
    const known = found.per_litre !== null;
    const value = make("td");
    value.append(make("span", known ? digits(found.per_litre) : "unknown", known ? "litre" : ""));
    row.append(make("td", found.label), value);
    row.append(make("td", known ? `${digits(found.per_litre_low)} to ${digits(found.per_litre_high)}` : ""));
    row.append(make("td", number(found.minutes)), make("td", found.bin || ""));
    if (!known) row.append(make("td", found.flags.map((flag) => flag.replaceAll("_", " ")).join(", ")));
    return row;
  }));
  $("density-note").textContent = page.densities_note;
  const rest = page.densities_all - rows.length;
  $("densities-more").textContent = rest > 0 ? `${plural(rest, "more row is", "more rows are")} in bins.csv.` : "";
}

// ---- a sample, its labels, what they correct

function fillValidation(status) {
  const { page, id } = view;
  const { drawn } = status;
  if (view.drawn !== drawn) {
    view.drawn = drawn;
    fill(); // a sample has files
  }
  const none = !page.densities.length && !drawn;
  $("validate").hidden = !page.totals.results;
  $("validate-buttons").hidden = none;
  $("validate-why").textContent = none
    ? `No sample can be drawn to label, as no particle stands for a known amount of water. ${page.densities_note}`
    : drawn
      ? `A random sample of ${plural(drawn, "particle", "particles")} is drawn. Label them, or some of them, then correct the densities. Labels are kept when you draw more.`
      : "Label a random sample of the particles: your labels measure the model's errors and correct the densities, with intervals that hold them. 300 are a good beginning.";
  $("label-go").hidden = !drawn;
  $("label-go").href = `runs/${id}/label/${drawn}/`;
  $("correct").hidden = !drawn;
  $("draw").textContent = drawn ? "Draw more" : "Label a sample";
  $("draw").classList.toggle("second", Boolean(drawn));
  if (Number($("sample-size").value) <= drawn) $("sample-size").value = Math.min(5000, 2 * drawn);
  fillCorrected();
}

function fillCorrected() {
  const { corrected } = view.page;
  $("corrected").hidden = !corrected;
  $("h-density").classList.toggle("unseen", !corrected);
  if (!corrected) return;
  const none = corrected.rows.every((row) => row.per_litre === null);
  $("corrected").querySelector(".scroll").hidden = none;
  const several = new Set(corrected.rows.map((row) => row.stratum)).size > 1;
  $("corrected-rows").replaceChildren(...corrected.rows.map((found) => {
    const row = make("tr");
    const known = found.per_litre !== null;
    const value = make("td");
    value.append(make("span", known ? digits(found.per_litre) : "unknown", known ? "litre" : ""));
    row.append(
      make("td", several ? `${found.label}, ${found.stratum}` : found.label), value,
      make("td", known ? `${digits(found.per_litre_low)} to ${digits(found.per_litre_high)}` : ""),
      make("td", found.plain_per_litre === null ? "" : digits(found.plain_per_litre)), make("td", number(found.labelled)),
    );
    row.children[3].dataset.name = "uncorrected"; // where cells stand beneath each other
    row.children[4].dataset.name = "labels";
    return row;
  }));
  $("corrected-note").textContent = correctionText(corrected);
}

function correctionText(corrected) {
  const none = corrected.rows.every((row) => row.per_litre === null);
  const yet = none ? "Not corrected yet" : "Not to be published yet";
  const parts = [corrected.publishable
    ? `By ${plural(corrected.labelled, "label", "labels")}: these densities may be published; the report has them too.`
    : `${yet}: ${corrected.notes.join("; ")}.`];
  if (corrected.contradicting) parts.push(`${plural(corrected.contradicting, "particle has labels", "particles have labels")} that contradict each other and ${corrected.contradicting === 1 ? "is" : "are"} left out.`);
  if (corrected.rows_all > corrected.rows.length) parts.push(`${plural(corrected.rows_all - corrected.rows.length, "more row is", "more rows are")} in corrected.csv.`);
  return parts.join(" ");
}

async function post(address, body) {
  let response;
  try {
    response = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Problem("No connection", "The service did not answer. Check that it runs and that the network is there, then try again.", "");
  }
  let answer = null;
  try { answer = await response.json(); } catch { /* told by the status */ }
  if (!response.ok) throw problemOf(response.status, answer, response.headers.get("Retry-After"));
  return answer;
}

function jobFailed(error) {
  $("job").hidden = true;
  for (const name of ["draw", "correct"]) $(name).disabled = false;
  $("job-problem").hidden = false;
  $("job-problem").textContent = error.message;
}

/** Follow what is done with these results until it is over; returns its job, or null. */
async function follow(id, turn) {
  for (const name of ["draw", "correct"]) $(name).disabled = true;
  $("job-problem").hidden = true;
  $("job").hidden = false;
  for (;;) {
    const status = await get(`runs/${id}`);
    if (turn !== job.turn) return null;
    const now = status.job;
    if (!now || now.state !== "working") {
      $("job").hidden = true;
      for (const name of ["draw", "correct"]) $(name).disabled = false;
      if (now?.state === "failed") throw new Problem("", now.error.message, now.error.code);
      if (now?.kind === "correct") {
        view.page = await get(`runs/${id}/page`);
        fill();
      }
      fillValidation(status);
      return status;
    }
    const { step, done, wanted } = now.progress;
    $("job-step").textContent = step ? `${JOB_STEPS[step]}${wanted ? `: ${number(done)} of ${number(wanted)}` : ""}` : "Waiting for a free worker";
    if (wanted) $("job-bar").value = done / wanted;
    else $("job-bar").removeAttribute("value");
    await sleep(300);
  }
}

async function drawSample() {
  const { id } = view;
  const { turn } = job;
  if (!$("sample-size").reportValidity()) return;
  try {
    await post(`runs/${id}/label`, { size: Number($("sample-size").value) });
    const status = await follow(id, turn);
    if (status?.drawn) location.assign(`runs/${id}/label/${status.drawn}/`);
  } catch (error) {
    if (turn === job.turn) jobFailed(error);
  }
}

async function correctDensities() {
  const { id } = view;
  const { turn } = job;
  try {
    await post(`runs/${id}/correct`, {});
    if (await follow(id, turn)) $("corrected").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (turn === job.turn) jobFailed(error);
  }
}

function fillClasses() {
  const { page, label } = view;
  const all = Math.max(1, page.totals.results);
  $("counted").hidden = !page.totals.results;
  // what is none of the model's classes, such as no_particle, stands behind them
  const others = Object.keys(page.counts).filter((name) => !page.classes.includes(name));
  $("classes").replaceChildren(...[...page.classes, ...others].map((name, index) => {
    const count = page.counts[name] || 0;
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(label === name));
    const title = make("span", undefined, "name");
    const key = paint(make("span", undefined, "key"), index);
    key.setAttribute("aria-hidden", "true");
    title.append(key, name);
    button.append(title, meter(index, count / all), make("span", `${number(count)} (${percent(count / all)})`, "count"));
    button.onclick = () => {
      view.label = view.label === name ? "" : name;
      view.many = PAGE_SIZE;
      for (const other of $("classes").children) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(view.label === name));
      fillParticles();
    };
    return button;
  }));
}

function fillFailures() {
  const { page } = view;
  $("failed").hidden = !page.failures.length;
  $("failures").replaceChildren(...page.failures.map((failure) => {
    const row = make("tr");
    const code = make("td");
    code.append(make("code", failure.code));
    row.append(make("td", failure.member || failure.source), code, make("td", failure.message));
    return row;
  }));
  const rest = page.totals.failures - page.failures.length;
  $("failures-more").textContent = rest > 0 ? `${plural(rest, "more failure is", "more failures are")} in failures.csv, inside the zip.` : "";
}

const ORDERS = {
  given: null,
  surest: (a, b) => surest(b.scores) - surest(a.scores),
  unsurest: (a, b) => surest(a.scores) - surest(b.scores),
  largest: (a, b) => (b.esd_um ?? -1) - (a.esd_um ?? -1),
  smallest: (a, b) => (a.esd_um ?? Infinity) - (b.esd_um ?? Infinity),
};

function fillParticles() {
  const { page, label, order, many } = view;
  const numbered = page.particles.map((particle, index) => ({ ...particle, number: index }));
  const chosenOnes = label ? numbered.filter((particle) => particle.label === label) : numbered;
  if (ORDERS[order]) chosenOnes.sort(ORDERS[order]);
  const shown = chosenOnes.slice(0, many);
  $("particles").replaceChildren(...shown.map(card));
  const all = page.totals.results;
  const held = page.particles.length;
  const first = held < all ? ` Only the first ${number(held)} of ${number(all)} have pictures; the tables and the report hold all.` : "";
  $("shown").textContent = `${number(shown.length)} of ${plural(chosenOnes.length, "particle", "particles")}${label ? ` labelled ${label}` : ""}.${first}`;
  $("more").hidden = shown.length === chosenOnes.length;
}

function card(particle) {
  const { page, id } = view;
  const item = $("card").content.cloneNode(true).firstElementChild;
  const classes = Object.keys(page.counts);
  const index = page.classes.includes(particle.label) ? page.classes.indexOf(particle.label) : classes.indexOf(particle.label);
  const image = item.querySelector("img");
  if (particle.picture) {
    image.removeAttribute("width");
    image.removeAttribute("height");
    image.src = `runs/${id}/pictures/${particle.number}`;
    image.alt = `${particle.label}, ${particle.id}`;
  } else {
    image.replaceWith("no picture");
  }
  item.querySelector(".name").textContent = particle.label;
  paint(item.querySelector(".key"), index);
  item.querySelector(".score").textContent = particle.scores.length ? surest(particle.scores).toFixed(2) : "";
  const ranked = particle.scores.map((score, at) => [score, at]).sort((a, b) => b[0] - a[0]).slice(0, 3);
  const scores = item.querySelector(".scores");
  for (const [score, at] of ranked) {
    scores.append(make("dt", page.classes[at]), meter(at, score), make("dd", score.toFixed(2)));
  }
  const lines = particle.esd_um === null
    ? [`${particle.width_px} × ${particle.height_px} px`]
    : [`ESD ${number(Math.round(particle.esd_um))} µm`,
      `${number(Math.round(particle.major_um))} × ${number(Math.round(particle.minor_um))} µm`];
  item.querySelector(".size").append(...lines.map((line) => make("span", line)));
  item.querySelector(".flags").append(...particle.flags.map((flag) => make("span", FLAGS[flag] || flag.replaceAll("_", " "))));
  item.querySelector(".id").textContent = particle.id;
  return item;
}

// ---- the beginning

$("choose-files").onclick = () => $("files").click();
$("choose-folder").onclick = () => $("folder").click();
for (const input of [$("files"), $("folder")]) {
  input.onchange = () => {
    const files = chosen(input);
    input.value = ""; // so that the same file can be chosen again
    if (files.length) start(files);
  };
}
$("cancel").onclick = () => {
  stop();
  fail("Cancelled", "The work was stopped; nothing is kept.", "cancelled");
};
$("more").onclick = () => {
  const before = view.many;
  view.many += PAGE_SIZE;
  fillParticles();
  $("particles").children[before]?.scrollIntoView({ block: "nearest" });
};
// back from the labelling page: there are labels, and perhaps corrected densities
addEventListener("pageshow", (event) => { if (event.persisted && view.id) location.reload(); });
$("draw").onclick = drawSample;
$("correct").onclick = correctDensities;
$("sample-size").onkeydown = (event) => { if (event.key === "Enter") drawSample(); };
$("order").onchange = () => {
  view.order = $("order").value;
  fillParticles();
};

let depth = 0;
const over = (on) => document.body.classList.toggle("over", on);
addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; over(true); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); over(depth > 0); });
addEventListener("drop", async (event) => {
  event.preventDefault();
  depth = 0;
  over(false);
  const data = event.dataTransfer;
  // taken at once: the list is empty after the first await
  const entries = [...data.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const plain = [...data.files].map((file) => ({ file, name: file.name }));
  try {
    await start(entries.length ? await entriesOf(entries) : plain);
  } catch {
    fail("That did not work", "The dropped files cannot be read. Choose them with the button instead.", "");
  }
});

get("about").then((about) => {
  limit = about.max_bytes;
  $("limit").textContent = `, up to ${size(limit)} at once`;
  $("about").textContent = `Each particle gets a class (${about.classes.slice(0, 8).join(", ")}${about.classes.length > 8 ? ", …" : ""}), its scores and its size.`;
  $("version").textContent = `Version ${about.version}, model ${about.model.name} ${about.model.version}`;
}).catch(() => {});

if (location.hash.length > 1) {
  const turn = ++job.turn;
  const id = encodeURIComponent(location.hash.slice(1));
  show("working");
  progress("Looking for these results");
  watch(id, turn, 0).then(() => {
    if (!view.page) history.replaceState(null, "", location.pathname + location.search);
  });
}

"use strict";
// What the pages that name particles share: requests, elements, the labels, the choice of a finer taxon.
// All addresses are relative to the page, whose own address holds the secret.

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-GB");
const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
const query = (fields) => new URLSearchParams(fields).toString();

/** status: of the answer; 0 where none came. */
class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The program's answer; gone: what to tell where none comes. */
async function ask(gone, address, body) {
  let response;
  try {
    response = await fetch(address, body ? {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    } : {});
  } catch {
    throw new Problem(gone);
  }
  let answer = null;
  try { answer = await response.json(); } catch { /* told by the status */ }
  if (response.status === 503) {
    throw new Problem(`The service is busy; try again in ${response.headers.get("Retry-After") || "a few"} seconds.`, 503);
  }
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

// ---- labels and keys

const spoken = (label) => label.replaceAll("_", " ");

/** A button for each label, with its key and how often it was given. */
function drawLabels(entries, give) {
  $("labels").replaceChildren(...entries.map((entry) => {
    const button = make("button");
    button.type = "button";
    button.dataset.label = entry.name;
    if (entry.key) button.setAttribute("aria-keyshortcuts", entry.key);
    const name = make("span", spoken(entry.name), "name");
    if (entry.meaning) name.append(make("small", entry.meaning));
    const cap = make("kbd", entry.key || "·");
    cap.setAttribute("aria-hidden", "true");
    button.append(cap, name, make("span", "0", "count"));
    button.onclick = () => give(entry.name);
    return button;
  }));
}

/** counts: how often a label was given. */
function countLabels(counts) {
  for (const button of $("labels").children) {
    button.querySelector(".count").textContent = number(counts[button.dataset.label] || 0);
  }
}

function drawKeys(rows) {
  $("keys").replaceChildren(...rows.flatMap(([key, meaning]) => {
    const term = make("dt");
    term.append(make("kbd", key));
    return [term, make("dd", meaning)];
  }));
  $("help-open").onclick = () => $("help").showModal();
  $("help-close").onclick = () => $("help").close();
}

// ---- finer taxa

const Taxa = (() => {
  const DIALOG = `<dialog id="taxon-dialog" aria-labelledby="h-taxon">
    <h2 id="h-taxon">Finer taxon</h2>
    <label class="unseen" for="taxon-text">Search by name or AphiaID</label>
    <input id="taxon-text" role="combobox" aria-expanded="true" aria-controls="taxa" aria-autocomplete="list" autocomplete="off" placeholder="Search by name or AphiaID">
    <ul id="taxa" role="listbox" aria-label="Taxa"></ul>
    <p class="buttons"><button type="button" id="taxon-none" class="second">No finer taxon</button> <button type="button" id="taxon-close" class="second">Close <kbd>Esc</kbd></button></p>
    </dialog>`;
  let page = null; // {find, none, choose}; null where there are no taxa
  let searched = 0;

  async function search() {
    const mine = ++searched;
    const rows = await page.find($("taxon-text").value).catch((error) => { fail(error); return []; });
    if (mine !== searched) return;
    $("taxa").replaceChildren(...rows.map((row, index) => {
      const item = make("li", row.name);
      item.id = `taxon-${index}`;
      item.setAttribute("role", "option");
      item.append(make("small", [row.rank, row.aphia_id].filter(Boolean).join(" · ")));
      item.dataset.name = row.name;
      item.onclick = () => choose(row.name);
      return item;
    }));
    if (!rows.length && $("taxon-text").value) $("taxa").replaceChildren(make("li", page.none));
    mark(0);
  }

  const found = () => [...$("taxa").children].filter((item) => item.dataset.name);

  function mark(index) {
    const items = found();
    const chosen = (index + items.length) % Math.max(1, items.length);
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === chosen)));
    if (items.length) {
      $("taxon-text").setAttribute("aria-activedescendant", items[chosen].id);
      items[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  function choose(name) {
    $("taxon-dialog").close();
    page.choose(name);
  }

  function open() {
    if (!page) return;
    $("taxon-text").value = "";
    $("taxon-dialog").showModal();
    search();
  }

  /** find(text): its rows; none: what to tell without any; choose(name): "" for no taxon. */
  function offer(how) {
    page = how;
    document.body.insertAdjacentHTML("beforeend", DIALOG);
    $("finer").hidden = false;
    $("taxon-open").onclick = open;
    $("taxon-close").onclick = () => $("taxon-dialog").close();
    $("taxon-none").onclick = () => choose("");
    $("taxon-text").oninput = search;
    $("taxon-text").onkeydown = (event) => {
      const items = found();
      const marked = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
      if (event.key === "ArrowDown") mark(marked + 1);
      else if (event.key === "ArrowUp") mark(marked - 1);
      else if (event.key === "Enter" && marked >= 0) choose(items[marked].dataset.name);
      else return;
      event.preventDefault();
    };
  }

  return { offer, open };
})();

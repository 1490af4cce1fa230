"use strict";

// The page asks this server alone. Texts are kept nowhere; the token, while the tab is open.

const PAUSE = 250; // ms without a key before a text is sent
const TOGETHER = 16; // documents of one request, when files are read
const MOST = 1000; // documents of files
const MOST_BYTES = 20e6; // of a file
const SHOWN = 8; // terms for a label, and against it

const $ = (id) => document.getElementById(id);
const made = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

let models = [];
let answer = []; // labels of the text in the box, best first
let asking = null; // what stops the request for it
let timer = 0;
let documents = []; // {id, text, labels} of files

const chosen = () => models.find((model) => model.name === $("model").value) ?? models[0];
const percent = (score) => (100 * score).toFixed(score < 0.0995 ? 1 : 0) + " %";

async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = body === undefined ? { headers, signal } : { method: "POST", headers, signal, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  if (response.status === 401) {
    sessionStorage.removeItem("token");
    $("enter").hidden = false;
    $("token").focus();
  }
  const error = new Error(problem.detail);
  error.retryAfter = response.status === 429 ? Number(response.headers.get("Retry-After")) || 1 : 0;
  throw error;
}

// As `ask`, and again where the server has no room just now.
async function askPatiently(path, body, signal) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask(path, body, signal);
    } catch (error) {
      if (!error.retryAfter || attempt === 9) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
    }
  }
}

function tell(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function start() {
  try {
    models = (await ask("/v1/models")).models;
  } catch (error) {
    tell(error.message, true);
    return;
  }
  $("enter").hidden = true;
  $("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  $("models").hidden = models.length < 2;
  choose();
}

function choose() {
  const model = chosen();
  const told = [models.length < 2 ? model.name : "", `${model.labels.toLocaleString("en")} labels`];
  $("about").textContent = told.filter(Boolean).join(" · ");
  $("calibrated").hidden = model.threshold === null;
  $("auto").checked = model.threshold !== null;
  $("marks").replaceChildren(...(model.threshold === null ? [] : [new Option("", model.threshold)]));
  if (model.threshold !== null) {
    $("threshold").value = model.threshold;
    $("calibrated").lastElementChild.textContent =
      model.own_thresholds ? "calibrated, each label its own" : `calibrated: ${model.threshold.toFixed(2)}`;
  }
  $("text").placeholder = model.reads_text
    ? "Type or paste a text, or drop files here"
    : "A row of sparse features, feature:value …, or drop files here";
  showThreshold();
  suggest();
}

function showThreshold() {
  $("least").textContent = Number($("threshold").value).toFixed(2);
  $("threshold").disabled = $("auto").checked && chosen()?.own_thresholds === true;
}

const reaching = (labels) => {
  if ($("auto").checked) return labels; // the server has left out what does not reach it
  return labels.filter((label) => label.score >= Number($("threshold").value));
};

function question(texts) {
  const body = { model: chosen().name, k: Math.min(100, Math.max(1, Number($("k").value) || 1)), ...texts };
  if ($("auto").checked) body.threshold = "auto";
  return body;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(suggest, PAUSE);
}

async function suggest() {
  clearTimeout(timer);
  asking?.abort();
  closeReasons();
  const text = $("text").value;
  if (!models.length) return;
  if (!text.trim()) {
    answer = [];
    show();
    tell("");
    return;
  }
  asking = new AbortController();
  const { signal } = asking;
  document.body.classList.add("waiting");
  try {
    answer = (await askPatiently("/v1/predict", question({ texts: [text] }), signal)).results[0].labels;
    show();
  } catch (error) {
    if (signal.aborted) return;
    answer = [];
    show();
    tell(error.message, true);
  }
  document.body.classList.remove("waiting");
}

function show() {
  const shown = reaching(answer);
  $("labels").replaceChildren(...shown.map(entry));
  $("copying").hidden = !shown.length;
  const below = answer.length - shown.length;
  const count = `${shown.length} label${shown.length === 1 ? "" : "s"}`;
  tell(below ? `${count}; ${below} below the threshold` : answer.length || $("text").value.trim() ? count : "");
}

function entry(label) {
  const bar = made("span", { className: "bar" });
  bar.style.width = percent(label.score).replace(" ", "");
  const score = made("span", { className: "score", textContent: percent(label.score) });
  const parts = [bar, made("span", { className: "name", textContent: label.name }), score];
  if (label.above?.length) parts.push(made("span", { className: "id", textContent: label.above.join(" › ") }));
  if (label.name !== label.label) parts.push(made("span", { className: "id", textContent: label.label }));
  const button = made("button", { type: "button" }, ...parts);
  if (chosen().explains) {
    button.setAttribute("aria-pressed", "false");
    button.title = "Why?";
    button.addEventListener("click", () => explain(label, button));
  } else {
    button.disabled = true;
  }
  return made("li", {}, button);
}

async function explain(label, button) {
  if (button.getAttribute("aria-pressed") === "true") {
    closeReasons();
    return;
  }
  const text = $("text").value;
  closeReasons();
  button.setAttribute("aria-pressed", "true");
  try {
    const body = { model: chosen().name, text, labels: [label.label] };
    const [reasons] = (await askPatiently("/v1/explain", body)).explanations;
    if (text !== $("text").value || button.getAttribute("aria-pressed") !== "true") return;
    showReasons(text, label, reasons.terms);
  } catch (error) {
    tell(error.message, true);
  }
}

function showReasons(text, label, terms) {
  $("why").textContent = `Why “${label.name}”?`;
  $("marked").replaceChildren(...marks(text, terms));
  const ranked = summed(terms);
  list($("for"), ranked.filter((term) => term.weight > 0));
  list($("against"), ranked.filter((term) => term.weight < 0).reverse());
  $("reasons").hidden = false;
  $("why").focus({ preventScroll: true });
  $("reasons").scrollIntoView({ block: "nearest" });
}

function closeReasons() {
  $("reasons").hidden = true;
  for (const button of $("labels").querySelectorAll("[aria-pressed=true]")) button.setAttribute("aria-pressed", "false");
}

// Terms that stand several times once, the strongest for the label first.
function summed(terms) {
  const weights = new Map();
  for (const term of terms) {
    const name = term.text.toLowerCase().replace(/\s+/g, " ");
    weights.set(name, (weights.get(name) ?? 0) + term.weight);
  }
  return [...weights].map(([text, weight]) => ({ text, weight })).sort((a, b) => b.weight - a.weight);
}

function list(element, terms) {
  const entries = terms.slice(0, SHOWN).map((term) => {
    const weight = made("span", { className: "score", textContent: (term.weight > 0 ? "+" : "−") + Math.abs(term.weight).toFixed(2) });
    return made("li", {}, made("span", { textContent: term.text }), weight);
  });
  element.replaceChildren(...(entries.length ? entries : [made("li", { textContent: "nothing" })]));
}

// The text with marks. Places are counted in code points; where terms overlap, their weights add up.
function marks(text, terms) {
  const characters = Array.from(text);
  const weights = new Float64Array(characters.length);
  for (const { start, end, weight } of terms) for (let i = start; i < Math.min(end, weights.length); i++) weights[i] += weight;
  const largest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 1e-9);
  const parts = [];
  for (let start = 0, i = 1; i <= characters.length; i++) {
    if (i < characters.length && weights[i] === weights[start]) continue;
    const piece = characters.slice(start, i).join("");
    if (weights[start]) {
      const mark = made("mark", { className: weights[start] > 0 ? "for" : "against", textContent: piece });
      mark.style.setProperty("--share", (Math.abs(weights[start]) / largest).toFixed(3));
      parts.push(mark);
    } else {
      parts.push(piece);
    }
    start = i;
  }
  return parts;
}

const asLines = (labels) => labels.map((label) => [label.label, label.name, label.score.toFixed(4)].join("\t")).join("\n");

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // without https elsewhere than on this machine
    const field = made("textarea", { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  $("copied").textContent = "Copied";
  setTimeout(() => ($("copied").textContent = ""), 2000);
}

// Documents of files: a .txt is one, a .csv or .jsonl one a row.
async function read(file) {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is too large for the page; use xmc predict`);
  const content = (await file.text()).replace(/^\ufeff/, "");
  if (/\.jsonl$/i.test(file.name)) {
    return content.split("\n").filter((line) => line.trim()).map((line, number) => {
      const row = parsed(line, `${file.name}, line ${number + 1}`);
      return { id: String(row.id ?? `${file.name}:${number + 1}`), text: textOf(row) };
    });
  }
  if (/\.csv$/i.test(file.name)) {
    const [head, ...rows] = csv(content);
    const named = head.some((name) => name.trim().toLowerCase() === "text");
    return (named ? rows : [head, ...rows]).map((cells, number) => {
      const row = Object.fromEntries(cells.map((cell, i) => [named ? (head[i] ?? "").trim().toLowerCase() : i, cell]));
      return { id: row.id || `${file.name}:${number + 1}`, text: named ? (row.text ?? "") : cells.join("\n") };
    });
  }
  if (!/\.(txt|md)$/i.test(file.name)) throw new Error(`${file.name}: give .txt, .csv or .jsonl`);
  return [{ id: file.name, text: content }];
}

function parsed(line, where) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`${where} is no JSON`);
  }
}

function textOf(row) {
  if (typeof row === "string") return row;
  const parts = [row?.title, row?.text ?? row?.body ?? row?.abstract];
  return parts.filter((part) => typeof part === "string").join("\n");
}

// Rows of cells (RFC 4180).
function csv(content) {
  const rows = [[]];
  const cell = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|\r|$)/y;
  while (cell.lastIndex < content.length) {
    const [whole, value, end] = cell.exec(content) ?? [""];
    if (!whole) break;
    rows.at(-1).push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.some((value) => value.trim()));
}

let stopped = false;

async function readAll(files) {
  documents = [];
  $("rows").replaceChildren();
  $("documents").hidden = false;
  stopped = false;
  try {
    const found = (await Promise.all([...files].map(read))).flat().filter((one) => one.text.trim());
    if (!found.length) throw new Error("there is no text in these files");
    if (found.length === 1) {
      $("documents").hidden = true;
      $("text").value = found[0].text;
      suggest();
      return;
    }
    const more = found.length > MOST ? `, the first ${MOST} of ${found.length}; xmc predict takes all` : "";
    found.length = Math.min(found.length, MOST);
    $("progress").max = found.length;
    $("stop").hidden = false;
    for (let start = 0; start < found.length && !stopped; start += TOGETHER) {
      const some = found.slice(start, start + TOGETHER);
      const { results } = await askPatiently("/v1/predict", question({ documents: some }));
      some.forEach((one, i) => add({ ...one, labels: results[i].labels }));
      $("progress").value = documents.length;
      $("done").textContent = `${documents.length} of ${found.length} documents${more}`;
    }
  } catch (error) {
    $("done").textContent = error.message;
  }
  $("stop").hidden = true;
}

function add(document_) {
  documents.push(document_);
  const open = made("button", { type: "button", textContent: document_.id });
  open.addEventListener("click", () => {
    $("text").value = document_.text;
    suggest();
    scrollTo(0, 0);
    $("text").focus();
  });
  const labels = made("ul", {}, ...reaching(document_.labels).map((label) =>
    made("li", {}, label.name, made("span", { className: "score", textContent: percent(label.score) }))));
  const start = made("small", { textContent: document_.text.slice(0, 160) });
  $("rows").append(made("tr", {}, made("td", {}, open, start), made("td", {}, labels)));
}

$("text").addEventListener("input", later);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) suggest();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || $("reasons").hidden) return;
  const button = $("labels").querySelector("[aria-pressed=true]");
  closeReasons();
  button?.focus();
});
$("k").addEventListener("input", later);
$("model").addEventListener("change", choose);
$("threshold").addEventListener("input", () => {
  const was = $("auto").checked;
  $("auto").checked = false;
  showThreshold();
  if (was) suggest();
  else show();
});
$("auto").addEventListener("change", () => {
  if ($("auto").checked) $("threshold").value = chosen().threshold;
  showThreshold();
  suggest();
});
$("clear").addEventListener("click", () => {
  $("text").value = "";
  suggest();
  $("text").focus();
});
$("copy-json").addEventListener("click", () => copy(JSON.stringify(reaching(answer), null, 1)));
$("copy-lines").addEventListener("click", () => copy(asLines(reaching(answer))));
$("copy-all-json").addEventListener("click", () =>
  copy(documents.map(({ id, labels }) => JSON.stringify({ id, labels: reaching(labels) })).join("\n")));
$("copy-all-lines").addEventListener("click", () =>
  copy(documents.map(({ id, labels }) => reaching(labels).map((label) => [id, asLines([label])].join("\t")).join("\n")).join("\n")));
$("stop").addEventListener("click", () => (stopped = true));
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  readAll($("files").files);
  $("files").value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    $("text").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("text").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  $("text").classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  readAll(event.dataTransfer.files);
});
$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
  start();
});

start();

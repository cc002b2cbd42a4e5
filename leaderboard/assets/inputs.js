// The content of a row made whole by the script: its own page, and every input down to the picture.

const PAGE_OF_INPUTS = 25;

function enrich(place, row, content) {
  const tools = place.querySelector("[data-tools]");
  if (tools) {
    const link = state.system === row.id ? null : element("button", { type: "button", onclick: () => { state.system = row.id; changed(true); single.querySelector(".back").focus(); scrollTo(0, 0); } }, "Page of this system");
    tools.append(...[link, element("button", { type: "button", onclick: () => { choose(row, true); view("compare"); tabs.querySelector("[data-view-of=compare]").focus(); } }, "Compare with …")].filter(Boolean));
  }
  const table = place.querySelector("[data-inputs]");
  if (table && content.outcomes.index) inputTable(table, row, content.outcomes);
}

const named = (column, i) => (column ? column.names[column.of[i]] : "");

function fateOf(outcomes, i) {
  if (outcomes.clean[i] < 0.5) return "wrong or rejected before any attack";
  return outcomes.robust[i] >= 0.5 ? "held" : `broken by ${named(outcomes.breaker, i) || "an attack"}`;
}

function inputTable(place, row, outcomes) {
  const fates = outcomes.index.map((_, i) => fateOf(outcomes, i));
  const kinds = [...new Set(fates)].sort((a, b) => fates.filter((fate) => fate === b).length - fates.filter((fate) => fate === a).length);
  const columns = [["Input", (i) => `#${outcomes.index[i]}`], ["Class", (i) => named(outcomes.label, i)], ["Outcome", (i) => fates[i]], ["Nearest attack", (i) => named(outcomes.nearest, i)], ["Answered", (i) => named(outcomes.prediction, i)], ["Distance", (i) => (outcomes.distance && outcomes.distance[i] !== null ? outcomes.distance[i].toPrecision(3) : "")]]
    .filter(([title]) => title !== "Class" || outcomes.label).filter(([title]) => title !== "Nearest attack" || outcomes.nearest).filter(([title]) => title !== "Answered" || outcomes.prediction).filter(([title]) => title !== "Distance" || outcomes.distance);
  let chosen = "", number = PAGE_OF_INPUTS;
  const body = element("tbody", { role: "rowgroup" });
  const more = element("button", { type: "button", class: "more", onclick: () => { number += PAGE_OF_INPUTS; draw(); if (more.hidden) list.focus(); } });
  const heads = row.pictures ? [...columns.map(([title]) => title), "Picture"] : columns.map(([title]) => title);
  const list = element("select", { onchange: (event) => { chosen = event.target.value; number = PAGE_OF_INPUTS; draw(); } }, element("option", { value: "" }, `all ${fates.length}`), ...kinds.map((kind) => element("option", { value: kind }, `${kind} (${fates.filter((fate) => fate === kind).length})`)));
  const count = element("p", { class: "note", role: "status" });

  function draw() {
    const wanted = fates.map((_, i) => i).filter((i) => !chosen || fates[i] === chosen);
    body.replaceChildren(...wanted.slice(0, number).map(line));
    more.hidden = wanted.length <= number;
    more.textContent = `Show ${Math.min(PAGE_OF_INPUTS, wanted.length - number)} more of ${wanted.length}`;
    count.textContent = `${Math.min(number, wanted.length)} of ${wanted.length} inputs`;
  }

  function line(i) {
    const cells = columns.map(([title, text], j) => (j === 0 ? element("th", { scope: "row", role: "rowheader" }, text(i)) : element("td", { role: "cell", "data-label": title }, text(i))));
    if (row.pictures) cells.push(element("td", { role: "cell", "data-label": "Picture" }, element("button", { type: "button", "aria-label": `Show input ${outcomes.index[i]}`, "aria-expanded": "false", onclick: (event) => look(event.target, row, outcomes, i) }, "Show")));
    return element("tr", { role: "row" }, ...cells);
  }

  draw();
  const table = element("table", { class: "small inputtable", role: "table" }, element("caption", { class: "unseen" }, "Every input"), element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads.map((title) => element("th", { scope: "col", role: "columnheader" }, title)))), body);
  const about = "An input that held shows the attempt that came nearest: the one with the highest loss.";
  place.replaceChildren(element("details", {}, element("summary", {}, "Every input"), element("label", { class: "adding" }, element("span", {}, "Outcome"), list), count, table, more, element("p", { class: "note" }, outcomes.nearest ? about : "")));
}

// --- reports of papers, unpacked when they are opened ------------------------------------------------------------------------

for (const report of document.querySelectorAll("details[data-report]")) {
  report.addEventListener("toggle", async () => {
    const place = report.querySelector(".report");
    if (report.open && !place.childNodes.length) place.innerHTML = await unpacked(packed.reports[report.dataset.report]);
  });
}

// --- pictures: an atlas of clean inputs, and one of what was added to each, modulo 256 ---------------------------------------

const atlases = new Map();

function atlas(name) {
  if (!atlases.has(name)) {
    const found = loaded(`systems/${name}.js`, name).then((source) => new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error(`systems/${name}.js holds no picture`));
      image.src = source;
    }));
    found.catch(() => atlases.delete(name));
    atlases.set(name, found);
  }
  return atlases.get(name);
}

function pixels(image, { width, height, columns }, i) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, (i % columns) * width, Math.floor(i / columns) * height, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function tell(button, word, input) {
  button.textContent = word;
  button.setAttribute("aria-label", `${word} input ${input}`);
  button.setAttribute("aria-expanded", String(word === "Hide"));
}

async function look(button, row, outcomes, i) {
  const line = button.closest("tr");
  if (line.nextSibling && line.nextSibling.classList.contains("looked")) {
    line.nextSibling.remove();
    tell(button, "Show", outcomes.index[i]);
    return;
  }
  tell(button, "Hide", outcomes.index[i]);
  const cell = element("td", { role: "cell", colspan: line.children.length }, element("p", { class: "waiting" }, "Loading …"));
  line.after(element("tr", { class: "looked", role: "row" }, cell));
  try {
    const [clean, change] = await Promise.all([row.pictures.clean, row.pictures.change].map(atlas));
    cell.replaceChildren(triple(pixels(clean, row.pictures, i), pixels(change, row.pictures, i), outcomes, i));
  } catch (error) {
    cell.replaceChildren(callout(error.message));
  }
}

function triple(clean, change, outcomes, i) {
  const adversarial = new ImageData(clean.width, clean.height), difference = new ImageData(clean.width, clean.height);
  let largest = 1;
  for (let k = 0; k < clean.data.length; k++) if (k % 4 < 3) largest = Math.max(largest, Math.abs((clean.data[k] + change.data[k]) % 256 - clean.data[k]));
  for (let k = 0; k < clean.data.length; k++) {
    const value = k % 4 === 3 ? 255 : (clean.data[k] + change.data[k]) % 256;
    adversarial.data[k] = value;
    difference.data[k] = k % 4 === 3 ? 255 : 128 + (127 * (value - clean.data[k])) / largest;
  }
  const label = named(outcomes.label, i) || "clean", answer = named(outcomes.prediction, i) || "adversarial";
  const drawn = [[clean, "clean", `clean: ${label}`], [adversarial, "adversarial", `attacked: answered ${answer}`], [difference, "difference", `difference × ${(127 / largest).toFixed(1)}`]].map(([data, kind, words]) => {
    const canvas = element("canvas", { width: data.width, height: data.height, role: "img", "aria-label": `${kind}, ${words}` });
    canvas.getContext("2d").putImageData(data, 0, 0);
    return element("figure", {}, canvas, element("figcaption", {}, words));
  });
  return element("div", { class: "looking" }, ...drawn);
}

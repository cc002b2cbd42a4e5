// Tables of systems and of attacks: filtered, in order, opened.

const live = document.querySelector(".live");
const single = document.querySelector("section.system-page");
const TITLE = document.title;
const nothing = element("p", { class: "empty nothing", hidden: true }, document.createTextNode(""), element("button", { type: "button", class: "clear", onclick: () => form.reset() }, "Reset the filters"));
single.after(nothing);

// Sections that wait packed are made when the reader comes near them.
const ORDERED = "table.attacktable.sortable";
const nearby = new IntersectionObserver((seen) => seen.filter((each) => each.isIntersecting).forEach((each) => make(each.target)), { rootMargin: "1200px" });
for (const part of document.querySelectorAll("section[data-held]")) nearby.observe(part);

async function make(part) {
  nearby.unobserve(part);
  const template = document.createElement("template");
  template.innerHTML = await unpacked(packed.sections[Number(part.dataset.held)]);
  const made = template.content.firstElementChild;
  made.hidden = part.hidden;
  made.querySelectorAll(ORDERED).forEach(arrange);
  part.replaceWith(made);
}

function order(a, b) {
  const x = a.sort[state.sort], y = b.sort[state.sort];
  const missingX = x === null || x === undefined, missingY = y === null || y === undefined;
  if (missingX || missingY) return missingX - missingY || a.number - b.number;
  const sign = x < y ? -1 : x > y ? 1 : 0;
  return (state.descending ? -sign : sign) || a.number - b.number;
}

function filtered() {
  const chosen = Object.entries(state.filters).filter(([, value]) => value);
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => chosen.every(([name, value]) => row.filter[name].includes(value)) && words.every((word) => row.text.includes(word)));
}

function detailOf(row) {
  if (row.detail) return row.detail;
  const cell = element("td", { role: "cell", colspan: row.element.children.length }, element("p", { class: "waiting" }, "Loading …"));
  row.detail = element("tr", { class: "opened", id: `detail-${row.number}`, role: "row" }, cell);
  fill(cell, row);
  return row.detail;
}

async function fill(place, row) {
  try {
    const content = await contentOf(row);
    place.innerHTML = content.html;
    enrich(place, row, content);
  } catch (error) {
    place.replaceChildren(element("p", { class: "callout", role: "alert" }, error.message));
    row.detail = null;
  }
}

function show() {
  const alone = state.system !== "";
  const kept = filtered();
  const mine = sections.map(() => []);
  for (const row of kept) mine[row.board].push(row);
  sections.forEach((section, place) => {
    const shown = [];
    const first = mine[place].sort(order).slice(0, limits[place]);
    makeElements(first);
    for (const row of first) {
      const open = state.open.has(row.id);
      row.element.querySelector("button[aria-expanded]").setAttribute("aria-expanded", String(open));
      row.element.classList.toggle("open", open);
      const box = row.element.querySelector("[data-compare]");
      box.checked = state.compare.includes(row.id);
      box.disabled = !box.checked && state.compare.length === MOST_COMPARED;
      box.title = box.disabled ? `${MOST_COMPARED} are chosen: leave one out first` : "";
      shown.push(row.element);
      if (open) shown.push(detailOf(row));
    }
    replace(section.querySelector("table.board > tbody"), shown);
    const more = section.querySelector("button.more"), left = mine[place].length - limits[place];
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(packed.shown, left)} more of ${mine[place].length}`;
  });
  for (const part of document.querySelectorAll("main [data-view]")) {
    const place = part.dataset.board ?? part.dataset.of;
    part.hidden = alone || part.dataset.view !== state.view || (place !== undefined && mine[place].length === 0);
  }
  for (const head of document.querySelectorAll("table.board > thead th[data-column]")) {
    if (head.dataset.column === state.sort) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  tellNothing(kept.length, alone);
  document.querySelectorAll(ORDERED).forEach(arrange);
  showSystem();
  showComparison();
  for (const button of tabs ? tabs.children : []) {
    const active = !alone && button.dataset.viewOf === state.view;
    if (active) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    if (button.dataset.viewOf === "compare") button.textContent = state.compare.length ? `Compare (${state.compare.length})` : "Compare";
  }
  const count = new Intl.NumberFormat("en").format;
  const words = kept.length === rows.length ? `${count(rows.length)} systems` : `${count(kept.length)} of ${count(rows.length)} systems`;
  if (live && live.textContent !== words) live.textContent = words;
  if (form) { form.hidden = alone || ["compare", "papers"].includes(state.view); reflect(); }
  document.querySelector(".legend").hidden = alone || state.view !== "ranking";
}

// Where a row no longer shows, the open view's tab takes the focus.
function focusRow(row) {
  const button = row.element?.isConnected ? row.element.querySelector("button[aria-expanded]") : null;
  button?.focus();
  if (document.activeElement !== button) tabs.querySelector("[aria-current]")?.focus();
}

// Says that the filters leave nothing, with a way out.
function tellNothing(number, alone) {
  const any = [...document.querySelectorAll("main [data-view]")].some((part) => !part.hidden);
  nothing.hidden = any || alone || !rows.length;
  if (nothing.hidden) return;
  nothing.firstChild.textContent = number ? "The systems that the filters leave have nothing in this view. " : "No system matches the filters. ";
}

// The page of one system: its row's content under its name.
function showSystem() {
  const row = state.system ? rows.find((known) => known.id === state.system) : null;
  single.hidden = !row;
  document.title = row ? `${row.name} · ${TITLE}` : TITLE;
  if (!row || single.dataset.shown === row.id) return;
  single.dataset.shown = row.id;
  const back = element("button", { type: "button", class: "back", onclick: () => { state.system = ""; changed(true); focusRow(row); } }, "← All systems");
  const [dataset, victim, threat] = ["dataset", "victim", "threat"].map((name) => row.filter[name][0]);
  const head = element("header", {}, element("h2", {}, row.name), element("p", { class: "provenance" }, `rank ${row.place} · ${dataset} · ${victim} · ${threat} · ${row.filter.suite[0]}`));
  const body = element("div", { class: "scroll" }, element("p", { class: "waiting" }, "Loading …"));
  single.replaceChildren(back, head, body);
  fill(body, row);
}

// The lines of a table of attacks by one of its columns; without one, as the page has them.
function arrange(table) {
  table.lines = table.lines || [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  const place = heads.findIndex((head) => head.dataset.order === state.attacks);
  heads.forEach((head, i) => {
    if (i === place) head.setAttribute("aria-sort", state.attacksDescending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  const valueOf = (line) => {
    const value = line.cells[place].dataset.value;
    return value === undefined || value === "" ? null : isNaN(value) ? value : Number(value);
  };
  const wanted = place < 0 ? table.lines : table.lines.map((line, i) => [valueOf(line), i, line]).sort(([x, i], [y, j]) => {
    if (x === null || y === null) return (x === null) - (y === null) || i - j;
    return (x < y ? -1 : x > y ? 1 : 0) * (state.attacksDescending ? -1 : 1) || i - j;
  }).map(([, , line]) => line);
  replace(table.tBodies[0], wanted);
}

// Rows that hold the focus keep it: nothing is moved that already stands in its place.
function replace(body, wanted) {
  const active = document.activeElement;
  const current = [...body.children];
  if (current.length !== wanted.length || current.some((row, i) => row !== wanted[i])) body.replaceChildren(...wanted);
  if (active && active !== document.activeElement && body.contains(active)) active.focus({ preventScroll: true });
}

function reflect() {
  let any = state.q !== "" || state.sort !== "rank" || state.descending || state.attacks !== "";
  for (const field of form.elements) {
    if (!field.name) continue;
    const value = field.name === "q" ? state.q : field.name === "sort" ? state.sort : state.filters[field.name] || "";
    if (field.value !== value) field.value = value;
    const active = value !== "" && field.name !== "sort";
    field.classList.toggle("active", active);
    any = any || active;
  }
  form.querySelector("button[type=reset]").disabled = !any;
}

// What the reader has chosen; all of it stands in the address, so that a link shows the same.

const form = document.querySelector("form.filters");
const tabs = document.querySelector("nav.tabs");
const sections = [...document.querySelectorAll("section[data-board]")];
const descendingFirst = new Map();
const limits = sections.map(() => packed.shown);
const views = tabs ? [...tabs.querySelectorAll("button")].map((button) => button.dataset.viewOf) : [];
const MOST_COMPARED = 4;
const state = { view: "ranking", filters: {}, q: "", sort: "rank", descending: false, open: new Set(), compare: [], system: "", attacks: "", attacksDescending: false };

for (const button of document.querySelectorAll("table.board thead button")) {
  descendingFirst.set(button.dataset.sort, button.dataset.descending !== undefined);
}

const beginsDescending = (key) => descendingFirst.get(key) === true;

function written() {
  const parts = new URLSearchParams();
  if (state.system) parts.set("system", state.system);
  if (state.view !== "ranking") parts.set("view", state.view);
  for (const [name, value] of Object.entries(state.filters)) if (value) parts.set(name, value);
  if (state.q) parts.set("q", state.q);
  if (state.sort !== "rank") parts.set("sort", state.sort);
  if (state.descending !== beginsDescending(state.sort)) parts.set("order", state.descending ? "down" : "up");
  if (state.attacks) parts.set("attacks", `${state.attacks} ${state.attacksDescending ? "down" : "up"}`);
  if (state.compare.length) parts.set("compare", state.compare.join(","));
  if (state.open.size) parts.set("open", [...state.open].join(","));
  return parts.toString();
}

function read() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const list = (name) => (parts.get(name) || "").split(",").filter(Boolean);
  const names = form ? [...form.elements].map((field) => field.name).filter((name) => name && name !== "q" && name !== "sort") : [];
  const offered = (name) => [...form.elements[name].options].some((option) => option.value === parts.get(name));
  state.filters = Object.fromEntries(names.map((name) => [name, offered(name) ? parts.get(name) : ""]));
  state.q = parts.get("q") || "";
  const sort = parts.get("sort");
  state.sort = sort && descendingFirst.has(sort) ? sort : "rank";
  state.descending = parts.has("order") ? parts.get("order") === "down" : beginsDescending(state.sort);
  const [attacks, way] = (parts.get("attacks") || "").split(" ");
  const known = packed.orders.includes(attacks);
  Object.assign(state, { attacks: known ? attacks : "", attacksDescending: way === "down" });
  state.view = views.includes(parts.get("view")) ? parts.get("view") : known && views.includes("attacks") ? "attacks" : "ranking";
  state.open = new Set(list("open"));
  const ids = new Set(rows.map((row) => row.id));
  state.compare = [...new Set(list("compare"))].filter((id) => ids.has(id)).slice(0, MOST_COMPARED);
  state.system = ids.has(parts.get("system")) ? parts.get("system") : "";
}

// Going to another page of the board is a step that the browser's "back" takes back; filters and order are not.
function remember(step) {
  const hash = written();
  if (hash === location.hash.slice(1)) return;
  const address = hash ? `#${hash}` : location.pathname + location.search;
  try {
    if (step) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch {
    location.hash = hash;
  }
}

function changed(step = false) {
  show();
  remember(step);
}

// What people do.

function sortBy(key) {
  state.descending = key === state.sort ? !state.descending : beginsDescending(key);
  state.sort = key;
  changed();
}

function orderBy(key, descending) {
  state.attacksDescending = key === state.attacks ? !state.attacksDescending : descending;
  state.attacks = key;
  changed();
}

const rowOf = (part) => rows[Number(part.closest("tr.system").dataset.row)];

function toggle(button) {
  const row = rowOf(button);
  if (!state.open.delete(row.id)) state.open.add(row.id);
  changed();
}

function rowAfter(line) {
  let next = line.nextElementSibling;
  while (next && !next.classList.contains("system")) next = next.nextElementSibling;
  return next;
}

function view(name) {
  Object.assign(state, { view: name, system: "" });
  changed(true);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.sort) sortBy(button.dataset.sort);
  else if (button.dataset.order) orderBy(button.dataset.order, button.dataset.descending !== undefined);
  else if (button.dataset.viewOf) view(button.dataset.viewOf);
  else if (button.dataset.save) save(button.dataset.save);
  else if (button.dataset.copy !== undefined) copy(button);
  else if (button.matches("section[data-board] > .more")) {
    const section = button.closest("section"), last = [...section.querySelectorAll("tr.system")].at(-1);
    limits[Number(section.dataset.board)] += packed.shown;
    show();
    if (button.hidden) rowAfter(last)?.querySelector("button[aria-expanded]").focus();
  } else if (button.hasAttribute("aria-expanded") && button.closest("tr.system")) toggle(button);
});

document.addEventListener("change", (event) => {
  if (event.target.dataset.compare === undefined) return;
  choose(rowOf(event.target), event.target.checked);
});

const themes = ["system", "light", "dark"];
const theme = document.querySelector("button.theme");

function wear(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
  theme.dataset.name = name;
}

function remembered() {
  try { return localStorage.getItem("theme"); } catch { return null; }
}

wear(themes.includes(remembered()) ? remembered() : "system");
theme.addEventListener("click", () => {
  const next = themes[(themes.indexOf(theme.dataset.name) + 1) % themes.length];
  wear(next);
  try { localStorage.setItem("theme", next); } catch { /* a sandboxed frame has no storage; the choice lasts as long as the page */ }
});

function listen() {
  addEventListener("hashchange", () => { read(); show(); });
  addEventListener("popstate", () => { read(); show(); });
  if (tabs) tabs.inert = false;
  if (!form) return;
  form.inert = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const { name, value } = event.target;
    if (name === "q") state.q = value.trim();
    else if (name === "sort") { state.sort = value; state.descending = beginsDescending(value); }
    else state.filters[name] = value;
    changed();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    Object.assign(state, { filters: {}, q: "", sort: "rank", descending: false, attacks: "" });
    changed();
    form.elements.q.focus();
  });
}

unpackRows().then(() => {
  read();
  listen();
  show();
  document.documentElement.classList.add("ready");
}, (error) => {
  for (const part of [tabs, form]) if (part) part.hidden = true;
  document.querySelector("main").prepend(element("p", { class: "callout", role: "alert" }, `This browser cannot unpack the page (${error.message}): its first rows show, in the order of the ranking.`));
});

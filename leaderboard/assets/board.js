(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.querySelector("form.filters");
  const sections = [...document.querySelectorAll("section[data-board]")];
  const live = document.querySelector(".live");
  const attackTables = [...document.querySelectorAll("table.attacktable")];
  const ascending = new Map();
  const rows = data.rows.map((facts) => ({ ...facts, element: null, detail: null }));
  const limits = sections.map(() => data.shown);
  const state = { filters: {}, q: "", sort: "rank", descending: false, open: new Set(), attacks: "", attacksDescending: false };

  // --- the page's own rows -------------------------------------------------------------------------------------------

  for (const section of sections) {
    const rest = section.querySelector("template.rest");
    const found = [...section.querySelectorAll("tr.system"), ...(rest ? rest.content.querySelectorAll("tr.system") : [])];
    for (const element of found) rows[Number(element.dataset.row)].element = element;
    for (const button of section.querySelectorAll("thead button")) {
      ascending.set(button.dataset.sort, button.dataset.descending !== undefined);
    }
  }

  const firstDescending = (key) => ascending.get(key) === true;

  function order(a, b) {
    const x = a.sort[state.sort], y = b.sort[state.sort];
    const missingX = x === null || x === undefined, missingY = y === null || y === undefined;
    if (missingX || missingY) return missingX - missingY || a.number - b.number;
    const sign = x < y ? -1 : x > y ? 1 : 0;
    return (state.descending ? -sign : sign) || a.number - b.number;
  }

  rows.forEach((row, number) => { row.number = number; });

  function passes(row) {
    for (const [name, value] of Object.entries(state.filters)) {
      if (value && !(row.filter[name] || []).includes(value)) return false;
    }
    return state.q.toLowerCase().split(/\s+/).every((word) => row.text.includes(word));
  }

  function detailOf(row) {
    if (row.detail) return row.detail;
    const line = document.createElement("tr");
    line.className = "opened";
    line.id = `detail-${row.number}`;
    line.setAttribute("role", "row");
    const cell = document.createElement("td");
    cell.setAttribute("role", "cell");
    cell.colSpan = row.element.children.length;
    cell.append(document.getElementById(`content-${row.number}`).content.cloneNode(true));
    line.append(cell);
    row.detail = line;
    return line;
  }

  // --- showing the state ---------------------------------------------------------------------------------------------

  function show() {
    const kept = rows.filter(passes);
    sections.forEach((section, place) => {
      const mine = kept.filter((row) => row.board === place).sort(order);
      const shown = [];
      for (const row of mine.slice(0, limits[place])) {
        const open = state.open.has(row.id);
        row.element.querySelector("button[aria-expanded]").setAttribute("aria-expanded", String(open));
        row.element.classList.toggle("open", open);
        shown.push(row.element);
        if (open) shown.push(detailOf(row));
      }
      replace(section.querySelector("table.board > tbody"), shown);
      section.hidden = mine.length === 0;
      for (const below of document.querySelectorAll(`section[data-attacks="${place}"]`)) below.hidden = section.hidden;
      const more = section.querySelector("button.more");
      more.hidden = mine.length <= limits[place];
      more.textContent = `Show ${Math.min(data.shown, mine.length - limits[place])} more of ${mine.length}`;
    });
    for (const head of document.querySelectorAll("thead th[data-column]")) {
      const active = head.dataset.column === state.sort;
      if (active) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    attackTables.forEach(arrange);
    if (live) {
      const words = kept.length === rows.length ? `${rows.length} systems` : `${kept.length} of ${rows.length} systems`;
      if (live.textContent !== words) live.textContent = words;
    }
    if (form) reflect();
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
    if (current.length !== wanted.length || current.some((element, i) => element !== wanted[i])) body.replaceChildren(...wanted);
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

  // --- the state in the address ----------------------------------------------------------------------------------------

  function written() {
    const parts = new URLSearchParams();
    for (const [name, value] of Object.entries(state.filters)) if (value) parts.set(name, value);
    if (state.q) parts.set("q", state.q);
    if (state.sort !== "rank") parts.set("sort", state.sort);
    if (state.descending !== firstDescending(state.sort)) parts.set("order", state.descending ? "down" : "up");
    if (state.attacks) parts.set("attacks", `${state.attacks} ${state.attacksDescending ? "down" : "up"}`);
    if (state.open.size) parts.set("open", [...state.open].join(","));
    return parts.toString();
  }

  function read() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const names = form ? [...form.elements].map((field) => field.name).filter((name) => name && name !== "q" && name !== "sort") : [];
    state.filters = Object.fromEntries(names.map((name) => [name, parts.get(name) || ""]));
    state.q = parts.get("q") || "";
    const sort = parts.get("sort");
    state.sort = sort && ascending.has(sort) ? sort : "rank";
    state.descending = parts.has("order") ? parts.get("order") === "down" : firstDescending(state.sort);
    const [attacks, way] = (parts.get("attacks") || "").split(" ");
    const known = attackTables.some((table) => [...table.tHead.rows[0].cells].some((head) => head.dataset.order === attacks));
    Object.assign(state, { attacks: known ? attacks : "", attacksDescending: way === "down" });
    state.open = new Set((parts.get("open") || "").split(",").filter(Boolean));
  }

  function remember() {
    const hash = written();
    if (hash === location.hash.slice(1)) return;
    try {
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    } catch {
      location.hash = hash;
    }
  }

  function changed() {
    show();
    remember();
  }

  // --- what people do ----------------------------------------------------------------------------------------------------

  function sortBy(key) {
    state.descending = key === state.sort ? !state.descending : firstDescending(key);
    state.sort = key;
    changed();
  }

  function orderBy(key, descending) {
    state.attacksDescending = key === state.attacks ? !state.attacksDescending : descending;
    state.attacks = key;
    changed();
  }

  function toggle(element) {
    const row = rows[Number(element.closest("tr.system").dataset.row)];
    if (!state.open.delete(row.id)) state.open.add(row.id);
    changed();
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.sort) sortBy(button.dataset.sort);
    else if (button.dataset.order) orderBy(button.dataset.order, button.dataset.descending !== undefined);
    else if (button.hasAttribute("aria-expanded")) toggle(button);
    else if (button.dataset.copy !== undefined) copy(button);
    else if (button.classList.contains("more")) {
      limits[Number(button.closest("section").dataset.board)] += data.shown;
      show();
    }
  });

  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      const { name, value } = event.target;
      if (name === "q") state.q = value.trim();
      else if (name === "sort") { state.sort = value; state.descending = firstDescending(value); }
      else state.filters[name] = value;
      changed();
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      Object.assign(state, { filters: {}, q: "", sort: "rank", descending: false, attacks: "" });
      changed();
    });
  }
  addEventListener("hashchange", () => { read(); show(); });

  // --- light and dark ------------------------------------------------------------------------------------------------------

  const themes = ["system", "light", "dark"];
  const theme = document.querySelector("button.theme");
  function remembered() {
    try { return localStorage.getItem("theme"); } catch { return null; }
  }
  function wear(name) {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
    theme.dataset.name = name;
  }
  theme.hidden = false;
  wear(themes.includes(remembered()) ? remembered() : "system");
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme.dataset.name) + 1) % themes.length];
    wear(next);
    try { localStorage.setItem("theme", next); } catch { /* a sandboxed frame has no storage; the choice lasts as long as the page */ }
  });

  read();
  show();
})();

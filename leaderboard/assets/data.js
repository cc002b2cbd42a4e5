// What the page holds besides its first rows: facts of every row, the other rows, details and outcomes, all packed.

const packed = JSON.parse(document.getElementById("data").textContent);
const rows = []; // of every system, in the page's order: its facts, its element and its content, once they are made
const awaited = new Map(); // files that are being loaded: what to call with their content
let tables = [];

async function unpacked(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < characters.length; i++) bytes[i] = characters.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

async function unpackRows() {
  const [facts, lines, held] = await Promise.all([packed.facts, packed.table, packed.rows].map(unpacked));
  tables = JSON.parse(lines);
  JSON.parse(facts).forEach((known, number) => rows.push({ ...known, number, element: null, source: null, content: null, detail: null }));
  for (const element of document.querySelectorAll("tr.system")) rows[Number(element.dataset.row)].element = element;
  if (packed.held.length) held.split("\n").forEach((source, i) => { rows[packed.held[i]].source = source; });
  packed.facts = packed.table = packed.rows = "";
}

// Makes the elements of rows that have none yet, all of them at once.
function makeElements(wanted) {
  const missing = wanted.filter((row) => row.element === null);
  if (!missing.length) return;
  const template = document.createElement("template");
  template.innerHTML = missing.map((row) => row.source).join("");
  [...template.content.children].forEach((element, i) => { missing[i].element = element; missing[i].source = null; });
}

// A script file beside the page: a page that was opened from a folder may load no other kind.
function loaded(path, key) {
  return new Promise((resolve, reject) => {
    awaited.set(key, resolve);
    const script = document.createElement("script");
    script.src = path;
    script.onerror = () => reject(new Error(`${path} is not to be had. It lies beside this page: open the page in the board's own folder.`));
    script.onload = () => { script.remove(); if (awaited.delete(key)) reject(new Error(`${path} does not hold what was expected.`)); };
    document.head.append(script);
  });
}

window.boardReceives = (key, content) => {
  const resolve = awaited.get(key);
  awaited.delete(key);
  if (resolve) resolve(content);
};

// The content of a row, {html, outcomes}: from the page, or from the file beside it.
function contentOf(row) {
  if (!row.content) {
    const inside = packed.details[row.number];
    const text = inside ? Promise.resolve(inside) : loaded(`systems/${row.id}.js`, row.id);
    row.content = text.then(unpacked).then(JSON.parse);
    row.content.catch(() => { row.content = null; });
  }
  return row.content;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Up to four systems of one table, by pairs, over the inputs that both were given.

const comparison = document.querySelector("section.comparison");
const Z = 1.959963984540054;
let compared = "";

function choose(row, on) {
  state.compare = state.compare.filter((id) => id !== row.id);
  if (on && state.compare.length < MOST_COMPARED) state.compare.push(row.id);
  changed();
}

async function showComparison() {
  const wanted = state.view === "compare" && !state.system ? state.compare.join(",") : "";
  if (!wanted || wanted === compared) {
    if (state.view === "compare" && !state.compare.length) { compared = ""; offer([], []); }
    return;
  }
  compared = wanted;
  const chosen = state.compare.map((id) => rows.find((row) => row.id === id));
  const stranger = chosen.find((row) => row.board !== chosen[0].board);
  if (stranger) {
    offer(chosen, [callout(`${stranger.name} stands in another table than ${chosen[0].name}: only systems of one suite, size, data set, victim, threat and seed can be compared.`)]);
    return;
  }
  try {
    const contents = await Promise.all(chosen.map(contentOf));
    if (compared !== wanted) return;
    const known = chosen.map((row, i) => ({ row, outcomes: contents[i].outcomes }));
    const without = known.find(({ outcomes }) => !outcomes.index);
    if (without) offer(chosen, [callout(`${without.row.name} has no outcomes of single inputs, so that it can be compared with none.`)]);
    else offer(chosen, pairsOf(known).map(pair));
  } catch (error) {
    compared = "";
    offer(chosen, [callout(error.message)]);
  }
}

const callout = (words) => element("p", { class: "callout", role: "alert" }, words);

// The chosen systems, a list to add another from, and what was found.
function offer(chosen, found) {
  const chips = chosen.map((row) => element("li", {}, element("button", { type: "button", class: "chip", "aria-label": `Leave out ${row.name}`, onclick: () => choose(row, false) }, `${row.name} ×`)));
  const near = chosen.length ? rows.filter((row) => row.board === chosen[0].board) : rows;
  const left = near.filter((row) => !state.compare.includes(row.id) && row.sort.robust !== null);
  const names = left.slice(0, 500).map((row) => element("option", { value: row.id }, `${row.place} ${row.name}${chosen.length ? "" : ` · ${row.filter.dataset[0]} · ${row.filter.victim[0]}`}`));
  const list = element("select", { onchange: (event) => choose(rows.find((row) => row.id === event.target.value), true) }, element("option", { value: "" }, "choose a system"), ...names);
  const adding = left.length && chosen.length < MOST_COMPARED ? element("label", { class: "adding" }, element("span", {}, chosen.length ? "and" : "Compare"), list) : null;
  const clear = chosen.length ? element("button", { type: "button", class: "clear", onclick: () => { state.compare = []; changed(); } }, "Clear") : null;
  const words = found.length ? null : element("p", { class: "note" }, `Two to ${MOST_COMPARED} systems of one table: how many inputs both hold, which of them only one holds, and whether the difference is more than chance. The boxes beside the ranks choose as well.`);
  const focused = document.activeElement && document.activeElement.closest(".comparison") !== null;
  comparison.replaceChildren(element("h2", {}, "Compare"), element("ul", { class: "chips" }, ...chips, element("li", {}, adding), element("li", {}, clear)), ...found, ...(words ? [words] : []));
  if (focused) (comparison.querySelector("select") || comparison.querySelector("button"))?.focus();
}

function pairsOf(known) {
  const found = [];
  for (let i = 0; i < known.length; i++) for (let j = i + 1; j < known.length; j++) found.push([known[i], known[j]]);
  return found;
}

function pair([a, b]) {
  const place = new Map(b.outcomes.index.map((index, i) => [index, i]));
  const common = a.outcomes.index.map((index, i) => [i, place.get(index)]).filter(([, j]) => j !== undefined);
  if (!common.length) return element("section", { class: "pair" }, element("h3", {}, `${a.row.name} and ${b.row.name}`), callout("They were given no input in common, so that nothing can be compared."));
  const lines = [["Robust", "robust"], ["Clean", "clean"]].map(([title, name]) => [title, compare(common.map(([i]) => a.outcomes[name][i]), common.map(([, j]) => b.outcomes[name][j]))]);
  const heads = ["Accuracy", "Both, inputs", `Only ${a.row.name}`, `Only ${b.row.name}`, "Neither", "Difference, points (95 %)", "p"];
  const cells = ([title, found]) => element("tr", { role: "row" }, element("th", { scope: "row", role: "rowheader" }, title), ...[found.both, found.first, found.second, found.neither, found.difference, found.p].map((text, i) => element("td", { role: "cell", "data-label": heads[i + 1] }, text)));
  const table = element("table", { class: "small", role: "table" },
    element("caption", {}, `${common.length} inputs that both were given. p: ${lines[0][1].test}; the interval is ${lines[0][1].method}. One pair at a time, without a correction for many.`),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads.map((title) => element("th", { scope: "col", role: "columnheader" }, title)))),
    element("tbody", { role: "rowgroup" }, ...lines.map(cells)));
  return element("section", { class: "pair" }, element("h3", {}, `${a.row.name} and ${b.row.name}`), element("p", { class: "answer" }, inWords(a.row, b.row, lines[0][1])), element("div", { class: "scroll" }, table), agreement(a, b, common), broke(a, b, common));
}

function inWords(a, b, found) {
  const [better, worse] = found.mean >= 0 ? [a.name, b.name] : [b.name, a.name];
  if (found.chance < 0.05) return `${better} holds ${Math.abs(100 * found.mean).toFixed(1)} points more than ${worse}, which is more than chance (p ${found.p}).`;
  return `Which of the two holds more cannot be told from these inputs (p ${found.p}).`;
}

// Probabilities of being right, or 0 and 1, of two systems over the same inputs.
function compare(x, y) {
  const counts = { both: 0, first: 0, second: 0, neither: 0 };
  x.forEach((value, i) => { counts[value >= 0.5 ? (y[i] >= 0.5 ? "both" : "first") : y[i] >= 0.5 ? "second" : "neither"]++; });
  const whole = [...x, ...y].every((value) => value === 0 || value === 1);
  const { mean, low, high, chance } = whole ? proportions(counts) : paired(x, y);
  const points = (value) => (100 * value).toFixed(1).replace("-", "−");
  return {
    ...Object.fromEntries(Object.entries(counts).map(([name, number]) => [name, String(number)])),
    mean, chance,
    difference: `${mean > 0 ? "+" : ""}${points(mean)} (${points(low)} to ${points(high)})`,
    p: chance < 0.0001 ? "< .0001" : chance.toFixed(4).replace(/^0/, ""),
    test: whole ? "McNemar's exact test" : "paired t test of the probabilities, as a system is random",
    method: whole ? "Newcombe's for paired proportions" : "that of the mean difference",
  };
}

// Exact McNemar; interval of a difference of paired proportions: Newcombe 1998, method 10.
function proportions({ both, first, second, neither }) {
  const n = both + first + second + neither;
  const p1 = (both + first) / n, p2 = (both + second) / n, mean = (first - second) / n;
  const [l1, u1] = wilson(p1, n), [l2, u2] = wilson(p2, n);
  const margins = (both + first) * (second + neither) * (both + second) * (first + neither);
  let over = both * neither - first * second;
  over = over > n / 2 ? over - n / 2 : over >= 0 ? 0 : over;
  const phi = margins > 0 ? over / Math.sqrt(margins) : 0;
  const half = (a, b) => Math.sqrt(Math.max(0, a * a - 2 * phi * a * b + b * b));
  return { mean, low: mean - half(p1 - l1, u2 - p2), high: mean + half(u1 - p1, p2 - l2), chance: mcnemar(first, second) };
}

function wilson(share, n) {
  const scale = 1 + (Z * Z) / n, centre = share + (Z * Z) / (2 * n);
  const half = Z * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return [(centre - half) / scale, (centre + half) / scale];
}

function mcnemar(first, second) {
  const n = first + second, least = Math.min(first, second);
  let term = -n * Math.LN2, sum = 0;
  for (let k = 0; k <= least; k++) {
    sum += Math.exp(term);
    term += Math.log((n - k) / (k + 1));
  }
  return n === 0 ? 1 : Math.min(1, 2 * sum);
}

function paired(x, y) {
  const differences = x.map((value, i) => value - y[i]), n = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / n;
  const variance = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, n - 1);
  if (n < 2) return { mean, low: -1, high: 1, chance: 1 };
  const error = Math.sqrt(variance / n), half = studentQuantile(0.05, n - 1) * error;
  const chance = error > 0 ? studentTails(Math.abs(mean) / error, n - 1) : mean === 0 ? 1 : 0;
  return { mean, low: Math.max(-1, mean - half), high: Math.min(1, mean + half), chance };
}

// Two-sided tail of Student's t with so many degrees of freedom: an incomplete beta function (DLMF 8.17).
const studentTails = (t, freedom) => incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);

// The t that is exceeded in either direction with probability p, by bisection.
function studentQuantile(p, freedom) {
  let low = 0, high = 1;
  while (studentTails(high, freedom) > p) high *= 2;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (studentTails(middle, freedom) > p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// The regularised incomplete beta function by its continued fraction (DLMF 8.17.22), evaluated by Lentz's method.
function incompleteBeta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const least = 1e-300, away = (value) => (Math.abs(value) < least ? least : value);
  let numerator = 1, denominator = 1 / away(1 - ((a + b) * x) / (a + 1)), fraction = denominator;
  for (let m = 1; m < 1000; m++) {
    let change = 1;
    for (const term of [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))]) {
      denominator = 1 / away(1 + term * denominator);
      numerator = away(1 + term / numerator);
      change = numerator * denominator;
      fraction *= change;
    }
    if (Math.abs(change - 1) < 1e-14) break;
  }
  return (Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b)) * fraction) / a;
}

const logBeta = (a, b) => logGamma(a) + logGamma(b) - logGamma(a + b);

// Stirling's series (DLMF 5.11.1) above 10, brought there by the recurrence.
function logGamma(x) {
  let shift = 0;
  for (; x < 10; x++) shift -= Math.log(x);
  const y = 1 / (x * x);
  return shift + (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x;
}

const SVG = "http://www.w3.org/2000/svg";

function drawing(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A square an input, by who holds it.
function agreement(a, b, common) {
  const kinds = [["both hold it", "held"], [`only ${a.row.name}`, "attack0"], [`only ${b.row.name}`, "attack1"], ["neither", "wrong"]];
  const kind = common.map(([i, j]) => (a.outcomes.robust[i] >= 0.5 ? (b.outcomes.robust[j] >= 0.5 ? 0 : 1) : b.outcomes.robust[j] >= 0.5 ? 2 : 3));
  const columns = 100, side = 0.86;
  const paths = kinds.map(([title, style], number) => {
    const path = kind.map((value, i) => (value === number ? `M${(i % columns) + 0.07} ${Math.floor(i / columns) + 0.5}h${side}` : "")).join("");
    return drawing("path", { d: path || "M0 0", class: style }, drawing("title", {}, title));
  });
  const picture = drawing("svg", { viewBox: `0 0 ${columns} ${Math.ceil(common.length / columns)}`, class: "strip", role: "img", "aria-label": "Who holds each input; the counts stand in the table" }, ...paths);
  const keys = kinds.map(([title, style]) => element("li", {}, drawing("svg", { width: 12, height: 12, "aria-hidden": "true" }, drawing("rect", { x: 1, y: 1, width: 10, height: 10, class: style })), title));
  return element("figure", { class: "inputs" }, picture, element("figcaption", {}, element("ul", { class: "fates" }, ...keys)));
}

// Of the inputs that only one holds: which attacks broke them on the other.
function broke(a, b, common) {
  const lists = [[a, b, (i, j) => a.outcomes.robust[i] >= 0.5 && b.outcomes.robust[j] < 0.5, 1], [b, a, (i, j) => b.outcomes.robust[j] >= 0.5 && a.outcomes.robust[i] < 0.5, 0]].map(([holds, breaks, applies, which]) => {
    const breaker = breaks.outcomes.breaker, counted = new Map();
    for (const place of common) {
      if (!applies(...place)) continue;
      const at = place[which], name = (breaker && breaker.names[breaker.of[at]]) || (breaks.outcomes.clean[at] < 0.5 ? "wrong before any attack" : "an attack");
      counted.set(name, (counted.get(name) || 0) + 1);
    }
    if (!counted.size) return null;
    const words = [...counted].sort(([, x], [, y]) => y - x).map(([name, number]) => `${name} ${number}`).join(", ");
    return element("li", {}, `Held by ${holds.row.name} only; ${breaks.row.name} fell to: ${words}`);
  });
  return element("ul", { class: "broke" }, ...lists);
}

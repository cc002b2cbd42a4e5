// The filtered rows as a file; where a frame allows no download, as text to be copied.

const shownFile = document.querySelector("dialog.text");

function linesOf(kept) {
  const starts = [];
  for (const row of rows) starts[row.board] = Math.min(starts[row.board] ?? row.number, row.number);
  return [...kept].sort((a, b) => a.board - b.board || order(a, b)).map((row) => {
    const { columns, lines } = tables[row.board];
    return Object.fromEntries(columns.map((name, i) => [name, lines[row.number - starts[row.board]][i]]));
  });
}

function csv(lines) {
  const names = [...new Set(lines.flatMap((line) => Object.keys(line)))];
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...lines.map((line) => names.map((name) => line[name]))].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function save(kind) {
  const lines = linesOf(filtered());
  const text = kind === "csv" ? csv(lines) : JSON.stringify(lines, null, 1) + "\n";
  if (window.origin === "null" && window.self !== window.top) {
    shownFile.querySelector("textarea").value = text;
    shownFile.showModal();
    return;
  }
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" })), download: `leaderboard.${kind}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function copy(button) {
  const code = button.parentElement.querySelector("code, textarea");
  const text = code.value ?? code.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    if (code.select) code.select();
    else getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

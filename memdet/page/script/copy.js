// Tables as text for other programs, and the clipboard.

/** A button that copies what `make` returns. */
function copier(text, make) {
  const button = h("button", { type: "button", class: "quiet copy", "data-copy": text }, text);
  button.addEventListener("click", async () => {
    const done = await toClipboard(make());
    button.textContent = done ? "copied" : "not copied";
    $("said").textContent = done ? `${text} copied` : `${text} could not be copied`;
    setTimeout(() => { button.textContent = text; }, 1500);
  });
  return button;
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { /* a browser that keeps the clipboard from files */ }
  const area = h("textarea", { class: "hidden" }, text), before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before) before.focus({ preventScroll: true });
  return done;
}

/** Lines of cells as CSV; what could be taken for a formula by a spreadsheet is text. */
function csv(lines) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${lines.map((line) => line.map(cell).join(",")).join("\n")}\n`;
}

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
const escaped = (text) => String(text ?? "").replace(/[\\~^]|[&%$#_{}]/g, (letter) => LATEX[letter] || `\\${letter}`);

/** Heads and lines as a LaTeX table with booktabs; the first columns are text. */
function latex(heads, lines, texts) {
  const row = (cells) => `${cells.map(escaped).join(" & ")} \\\\`;
  return [`\\begin{tabular}{${heads.map((_, index) => (index < texts ? "l" : "r")).join("")}}`, "\\toprule", row(heads), "\\midrule", ...lines.map(row), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

/** Copies of one table: CSV of plain numbers, LaTeX of rounded ones, and the address of the view. */
function copiers(box, heads, lines, texts) {
  const rounded = (value) => (typeof value === "number" && !Number.isInteger(value) ? number(value) : value === null ? "-" : value);
  put(box, h("span", { class: "small" }, "Copy:"), copier("CSV", () => csv([heads(), ...lines()])),
    copier("LaTeX", () => latex(heads(), lines().map((cells) => cells.map(rounded)), texts)), copier("link", () => location.href));
}

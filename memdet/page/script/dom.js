// Elements are made from parts; text is only ever text.
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** New children of an element; what is missing is left out, and never a word. */
const put = (element, ...children) => { element.replaceChildren(); return fill(element, null, children); };
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const option = (value, text) => h("option", { value }, text === undefined ? String(value) : text);
/** A detector's label, which may break after @ and commas. */
const named = (label) => h("span", { class: "name" }, label.split(/(?<=[@,])/).flatMap((part, index) => (index ? [h("wbr"), part] : [part])));

/** Three digits without a leading zero, as memdet's other tables have it. */
function number(value, sign) {
  if (value === null || value === undefined) return "-";
  const text = (sign && value >= 0 ? "+" : "") + value.toFixed(3);
  return Math.abs(Number(text)) < 1 ? text.replace("0.", ".") : text;
}

const between = (values, sign) =>
  number(values[0], sign) + (values[1] === null || values[1] === undefined ? "" : ` [${number(values[1])}, ${number(values[2])}]`);
/** Value, and its bounds less loudly. */
const loud = (values, sign) => h("span", null, number(values[0], sign), values[1] === null || values[1] === undefined ? "" : h("span", { class: "range" }, ` [${number(values[1])}, ${number(values[2])}]`));
const count = (value) => String(Math.round(value * 100) / 100);
const whole = (value) => String(Math.round(value));
const percent = (rate) => `${Math.round(rate * 1000) / 10}\u00a0%`;
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 || word === "more" ? "" : "s"}`;
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`);

/** Four significant digits of a score. */
function significant(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** Milliseconds, or seconds from one on. */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds > 0 && seconds < 5e-6) return "< 0.01 ms";
  return seconds >= 1 ? `${seconds.toPrecision(3)} s` : `${(1000 * seconds).toFixed(2)} ms`;
}

/** What an evaluation count is made of: 2 F + 4 JVP. */
function parts(row) {
  const terms = [["F", row.forwards], ["JVP", row.jvps], ["VJP", row.vjps]].filter(([, n]) => n > 0);
  const sum = terms.map(([unit, n]) => `${count(n)} ${unit}`).join(" + ");
  if (!sum) return "none";
  return row.seeds > 1 ? `${row.seeds} seeds of ${sum}` : sum;
}

/** A small table; on a narrow screen its rows are cards, with the heads before the cells. */
function table(caption, heads, rows) {
  return h("table", { class: "phone-cards" }, h("caption", null, caption),
    h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col", class: head.number ? "number" : null }, head.text || head)))),
    h("tbody", null, rows.map((cells) => h("tr", null, cells.map((cell, index) =>
      index === 0 ? h("th", { scope: "row" }, cell) : h("td", { class: heads[index].number ? "number" : null, "data-head": heads[index].text || heads[index] }, cell))))));
}
const numeric = (text) => ({ text, number: true });

/** An interval as a bar: a line from low to high, a dot at the value, dashes at a reference. */
function intervalBar(values, from, to, options) {
  const [value, low, high] = values, { reference, control, logit, width = 100 } = options || {};
  const at = logit ? logitScale(from, to, 4, width - 4) : (v) => 4 + (width - 8) * Math.min(1, Math.max(0, (v - from) / (to - from)));
  return s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true", focusable: "false" },
    s("line", { class: "grid", x1: 4, x2: width - 4, y1: 8, y2: 8 }),
    reference === undefined || reference === null ? null : s("line", { class: "reference", x1: at(reference), x2: at(reference), y1: 1, y2: 15 }),
    low === null ? null : s("line", { class: control ? "ci control" : "ci", x1: at(low), x2: at(high), y1: 8, y2: 8 }),
    s("circle", { class: "point", cx: at(value), cy: 8, r: 3.5 }));
}

// Axes of plots. A plot is as wide as its box and drawn again when that changes, so that text keeps its size.
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "9 3 2 3"];

/** A round step that cuts a range into about `wanted` parts. */
function niceStep(range, wanted) {
  const rough = range / wanted, power = 10 ** Math.floor(Math.log10(rough)), unit = rough / power;
  return (unit < 1.5 ? 1 : unit < 3 ? 2 : unit < 7 ? 5 : 10) * power;
}

function linearScale(from, to, low, high) {
  const at = (value) => low + (high - low) * (value - from) / (to - from || 1);
  at.ticks = (wanted) => {
    const step = niceStep(to - from || 1, wanted), ticks = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9 * step; i += 1) ticks.push(Number((i * step).toPrecision(12)));
    return ticks;
  };
  return at;
}

const TOP = 0.999; // what an axis of AUROCs ends with; what is above lies on its end
const LEAST_AREA = 0.4; // of bars of AUROCs; what is below lies on their end
const AREA_TICKS = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, TOP];

/** Of AUROCs, by the logit: from .95 to .99 is as far as from .8 to .95. */
function logitScale(from, to, low, high) {
  const least = Math.max(from, 1 - TOP), most = Math.min(to, TOP), logit = (value) => Math.log(value / (1 - value));
  const at = (value) => low + (high - low) * (logit(Math.min(most, Math.max(least, value))) - logit(least)) / (logit(most) - logit(least));
  at.ticks = () => AREA_TICKS.filter((tick) => tick >= least && tick <= most);
  return at;
}

/** The last tick stands for all that lies above it. */
const areaTick = (value) => (value === TOP ? `\u2265${number(TOP)}` : number(value).replace(/0+$/, ""));

/** Logarithmic; values at or below 0 lie on the left end where `zero` leaves room for them. */
function logScale(from, to, low, high, zero) {
  const start = low + (zero ? 34 : 0), span = Math.log(to / from) || 1;
  const at = (value) => (value <= 0 ? low : start + (high - start) * Math.log(Math.max(value, from) / from) / span);
  at.ticks = () => {
    const ticks = zero ? [0] : [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power += 1) {
      const value = Number((10 ** power).toPrecision(6));
      if (value >= from * 0.999 && value <= to * 1.001) ticks.push(value);
    }
    return ticks;
  };
  return at;
}

/** The frame of a plot: an svg with title, description, grid and axis labels. */
function frame(box, height, options) {
  const { title, description, x, y, xTicks, yTicks, xName, yName, margin, format, drop } = options;
  const width = Math.max(260, box.clientWidth), id = `${box.parentElement.id || box.id}-svg`;
  const inner = { left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom };
  const sx = x(inner.left, inner.right), sy = y(inner.bottom, inner.top);
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title, "aria-describedby": `${id}-d` }, s("desc", { id: `${id}-d` }, description));
  for (const tick of xTicks || sx.ticks(Math.max(3, Math.floor(width / 90)))) {
    svg.append(s("line", { class: "grid", x1: sx(tick), x2: sx(tick), y1: inner.top, y2: inner.bottom }),
      s("text", { class: "dim", x: sx(tick), y: inner.bottom + 16 + (drop || 0), "text-anchor": "middle" }, (format && format.x ? format.x : tickText)(tick)));
  }
  for (const tick of yTicks || sy.ticks(5)) {
    svg.append(s("line", { class: "grid", x1: inner.left, x2: inner.right, y1: sy(tick), y2: sy(tick) }),
      s("text", { class: "dim", x: inner.left - 6, y: sy(tick) + 4, "text-anchor": "end" }, (format && format.y ? format.y : tickText)(tick)));
  }
  if (xName) svg.append(s("text", { class: "dim", x: (inner.left + inner.right) / 2, y: height - 6, "text-anchor": "middle" }, xName));
  if (yName) svg.append(s("text", { class: "dim", x: 12, y: inner.top - 10 }, yName));
  svg.append(s("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }));
  return { svg, sx, sy, inner, width };
}

function tickText(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(0) : String(Number(value.toPrecision(4)));
}

/** Longest part of a text that a width holds. */
function shortened(text, pixels) {
  const letters = Math.max(4, Math.floor(pixels / 6.6));
  return text.length <= letters ? text : `${text.slice(0, letters - 1)}\u2026`;
}

const line = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

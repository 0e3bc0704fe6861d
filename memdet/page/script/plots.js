// ROC curves, cost, score histograms, dose and response.
const MOST = 8;
const FLOOR = 0.45; // of the cost plot in AUROC; what lies below is drawn on it
const COPIES = "copies in the training set";
const MARGIN = { left: 44, right: 14, top: 26, bottom: 42 };

/** What a newcomer should see first: the Pareto front, and the best control. */
function defaultPlotted(set) {
  const front = costs(set, 0).front.map(([label]) => label);
  const controls = set.rows.filter((row) => row.control && row.auroc !== null).sort((a, b) => b.auroc - a.auroc);
  const last = front.slice(-(MOST - 3));
  return [...last, ...controls.slice(0, 1).map((row) => row.detector)];
}

/** Points [label, evaluations, value] of a set, and their front without controls, oracles and what is not ranked. */
function costs(set, measure) {
  const points = set.usable.map((label) => [label, set.row[label].evaluations, measured(set, measure, label)[0]]).filter((point) => point[2] !== null);
  return { points, front: paretoFront(points.filter(([label]) => eligible(set.row[label]) && set.row[label].access !== ORACLE)) };
}

function setUpPlots() {
  $("cost-measure").append(option(0, "AUROC"), ...DATA.rates.map((rate, index) => option(index + 1, `TPR at ${percent(rate)} FPR`)));
  $("cost-measure").addEventListener("change", () => { drawCost(); drawAllCosts(); });
  $("cost-all").addEventListener("toggle", drawAllCosts);
  for (const id of ["score-detector", "score-axis"]) $(id).addEventListener("change", () => drawScores());
  const dosed = DATA.sets.map((set, index) => [set, index]).filter(([set]) => set.dose);
  dosed.sort(([a], [b]) => (b.dose.word === COPIES) - (a.dose.word === COPIES));
  $("dose-set").append(...dosed.map(([set, index]) => option(index, set.name)));
  $("dose-part").hidden = !DATA.sets.some((set) => set.dose);
  $("dose-set").addEventListener("change", drawDose);
}

/** Put a detector into the plots or take it out. */
function plot(label, on) {
  state.plotted = state.plotted.filter((other) => other !== label);
  if (on) state.plotted = [...state.plotted.slice(-(MOST - 1)), label];
  drawTable();
  drawLegend();
  drawCurves();
  drawDose();
}

const plottable = (set) => state.plotted.filter((label) => set.usable.includes(label));

function drawLegend() {
  put($("legend"), ...state.plotted.map((label, index) => {
    const here = state.set.usable.includes(label);
    return h("li", null, h("button", { type: "button", "aria-label": `Take ${label} out of the plots`, onclick: () => plot(label, false) },
      s("svg", { width: 26, height: 10, "aria-hidden": "true" }, s("line", { class: `series s${index}`, x1: 0, x2: 26, y1: 5, y2: 5, "stroke-dasharray": DASHES[index] })),
      named(label), here ? "" : " (not on this set)", " \u00d7"));
  }));
  const box = $("picker").querySelector("fieldset");
  const focused = document.activeElement && box.contains(document.activeElement) ? document.activeElement.value : null;
  put(box, box.querySelector("legend"), ...state.set.usable.map((label) => h("label", null,
    h("input", { type: "checkbox", value: label, checked: state.plotted.includes(label), onchange: (event) => plot(label, event.target.checked) }), named(label))));
  if (focused !== null) [...box.querySelectorAll("input")].find((input) => input.value === focused)?.focus();
}

function drawCurves() {
  const set = state.set, labels = plottable(set), curves = new Map(labels.map((label) => [label, rocCurve(scoresOf(set, label), set.items.label)]));
  drawRoc($("roc").querySelector(".plot"), set, curves, false);
  drawRoc($("roc-log").querySelector(".plot"), set, curves, true);
  const realised = labels.some((label) => typeof set.row[label].realised_fpr === "number");
  put($("roc-numbers").querySelector(".body"), table(`ROC curves of ${set.name}`,
    ["Detector", numeric("Area"), ...(realised ? [numeric(`Realised FPR for ${percent(0.01)}`)] : []), ...DATA.rates.map((rate) => numeric(`TPR at ${percent(rate)} FPR`))],
    labels.map((label) => [named(label), number(areaUnder(curves.get(label))), ...(realised ? [number(set.row[label].realised_fpr)] : []), ...DATA.rates.map((rate, index) => (resolves(set, rate) ? between(set.tpr[label][index]) : "not resolvable"))])));
}

function drawRoc(box, set, curves, logarithmic) {
  const least = 0.5 / set.negatives;
  const { svg, sx, sy, inner } = frame(box, 336, {
    title: `ROC curves of ${set.name}${logarithmic ? ", logarithmic false positive rate" : ""}`,
    description: `${listed([...curves.keys()])}. The table below holds the areas and the rates.`,
    x: (low, high) => (logarithmic ? logScale(least, 1, low, high) : linearScale(0, 1, low, high)), y: (low, high) => linearScale(0, 1, low, high),
    xName: logarithmic ? "false positive rate, logarithmic" : "false positive rate", yName: "true positive rate", margin: MARGIN,
  });
  const chance = logarithmic ? Array.from({ length: 60 }, (_, i) => least ** (1 - i / 59)).map((v) => [v, v]) : [[0, 0], [1, 1]];
  svg.append(s("path", { class: "chance", d: line(chance.map(([x, y]) => [sx(x), sy(y)])) }));
  for (const [label, points] of curves) {
    const stairs = points.map(([x, y]) => [sx(logarithmic ? Math.max(x, least) : x), sy(y)]);
    const index = state.plotted.indexOf(label);
    svg.append(s("path", { class: `series s${index}`, "stroke-dasharray": DASHES[index], "data-detector": label, "data-area": areaUnder(points), d: line(stairs) }));
  }
  if (logarithmic && resolves(set, DATA.rates[0])) {
    const at = sx(DATA.rates[0]);
    svg.append(s("line", { class: "axis", x1: at, x2: at, y1: inner.top, y2: inner.bottom, "stroke-dasharray": "2 3" }), s("text", { class: "dim halo", x: at + 4, y: inner.bottom - 6 }, percent(DATA.rates[0])));
  }
  put(box, svg);
}

// Cost

function drawCost() {
  const set = state.set, measure = Number($("cost-measure").value), box = $("cost").querySelector(".plot");
  const { points, front } = costs(set, measure), name = $("cost-measure").selectedOptions[0].textContent;
  if (!points.length) {
    put(box, h("p", { class: "note" }, `${name} is not resolvable with ${set.negatives} items that are not memorized.`));
    $("cost-note").textContent = "";
    $("cost-numbers").querySelector(".body").replaceChildren();
    return;
  }
  costPlot(box, 432, set, measure, true);
  $("cost-note").textContent = "Filled: on the Pareto front. Open: behind it. Crosses: controls. Squares: oracles, which look at the training data." + (measure === 0 && points.some(([, , value]) => value < FLOOR) ? ` On the lower edge: below ${number(FLOOR)}.` : "");
  put($("cost-numbers").querySelector(".body"), table(`Pareto front of ${set.name}`, ["Detector", numeric(name), numeric("Evaluations"), numeric("Time an item")],
    front.map(([label]) => [named(label), between(measured(set, measure, label)), `${count(set.row[label].evaluations)} (${parts(set.row[label])})`, duration(set.row[label].seconds)])));
}

/** A mark of a plot with its card. */
function marked(mark, head, ...texts) {
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", [head, ...texts].join(", "));
  return tip(mark, () => [head, ...texts]);
}

function costPlot(box, height, set, measure, labelled) {
  const { points, front } = costs(set, measure), name = $("cost-measure").selectedOptions[0].textContent;
  const most = Math.max(10, ...points.map((point) => point[1]));
  const bottom = measure === 0 ? FLOOR : 0, on = new Set(front.map(([label]) => label));
  const least = Math.min(1, ...points.map((point) => point[1]).filter((value) => value > 0));
  const { svg, sx, sy, inner } = frame(box, height, {
    title: `${name} against network evaluations on ${set.name}`,
    description: `Pareto front: ${front.map(([label, cost, value]) => `${label} ${number(value)} for ${count(cost)}`).join("; ")}.`,
    x: (low, high) => logScale(least, most * 1.3, low, high, true), y: (low, high) => (measure === 0 ? logitScale : linearScale)(bottom, 1, low, high), format: measure === 0 ? { y: areaTick } : undefined,
    xName: labelled ? "network evaluations an item (F + JVP + VJP)" : "evaluations", yName: name,
    margin: labelled ? MARGIN : { left: 34, right: 8, top: 24, bottom: 36 },
  });
  const stairs = [];
  front.forEach(([, cost, value], index) => {
    if (index) stairs.push([sx(cost), sy(front[index - 1][2])]);
    stairs.push([sx(cost), sy(value)]);
  });
  if (front.length) {
    stairs.push([inner.right, sy(front[front.length - 1][2])]);
    svg.append(s("path", { class: "front", d: line(stairs) }));
  }
  const r = labelled ? 5 : 3;
  for (const [label, cost, value] of [...points].sort((a, b) => on.has(a[0]) - on.has(b[0]))) {
    const x = sx(cost), y = sy(Math.max(value, bottom)), row = set.row[label];
    const mark = row.control ? s("path", { class: "axis cross", d: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}` })
      : row.access === ORACLE ? s("rect", { class: "off", x: x - r, y: y - r, width: 2 * r, height: 2 * r })
        : s("circle", { class: on.has(label) ? "on" : "off", cx: x, cy: y, r });
    svg.append(labelled ? marked(mark, label, `${name} ${between(measured(set, measure, label))}`, `${plural(row.evaluations, "evaluation")} (${parts(row)})`) : mark);
  }
  if (labelled) tipGroup(svg);
  if (labelled) labelPoints(svg, front.map(([label, cost, value]) => ({ label, x: sx(cost), y: sy(Math.max(value, bottom)) })), points.map(([, cost, value]) => [sx(cost), sy(Math.max(value, bottom))]), inner);
  put(box, svg);
}

/** Labels beside the points of the front, where nothing else stands. */
function labelPoints(svg, wanted, points, inner) {
  const taken = points.map(([x, y]) => [x - 6, y - 6, x + 6, y + 6]);
  const overlap = (box) => taken.filter((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]).length;
  for (const { label, x, y } of wanted) {
    const text = shortened(label, (inner.right - inner.left) * 0.55), width = text.length * 6.9;
    const places = [];
    for (const [dx, dy] of [[9, -8], [9, 14], [-9, -8], [-9, 14], [9, 30], [-9, 30], [9, -24], [-9, -24], [9, 46], [-9, 46], [9, 62], [-9, 62]]) {
      const left = dx > 0 ? x + dx : x + dx - width, box = [left, y + dy - 11, left + width, y + dy + 3];
      const outside = box[0] < inner.left || box[2] > inner.right + 8 || box[1] < 2 || box[3] > inner.bottom;
      places.push({ dx, dy, box, cost: overlap(box) + (outside ? 20 : 0) });
    }
    const best = places.reduce((a, b) => (b.cost < a.cost ? b : a));
    if (best.cost > 0) continue; // the table below and the mark's card name it
    taken.push(best.box);
    if (Math.abs(best.dy) > 20) svg.append(s("line", { class: "axis", x1: x, y1: y, x2: x + best.dx, y2: y + best.dy - 4 }));
    svg.append(s("text", { class: "halo", x: x + best.dx, y: y + best.dy, "text-anchor": best.dx > 0 ? "start" : "end" }, text));
  }
}

function drawAllCosts() {
  const box = $("cost-all").querySelector(".body");
  if (!$("cost-all").open) return;
  const measure = Number($("cost-measure").value);
  put(box, ...DATA.sets.map((set, index) => h("div", { id: `cost-small-${index}` },
    h("button", { type: "button", class: "link", onclick: () => openSet(index) }, set.name), h("div", { class: "mini", id: `cost-mini-${index}` }))));
  DATA.sets.forEach((set, index) => {
    const mini = $(`cost-mini-${index}`);
    if (costs(set, measure).points.length) costPlot(mini, 180, set, measure, false);
    else put(mini, h("p", { class: "small" }, "not resolvable"));
  });
}

// Scores

function drawScores(chosen) {
  const set = state.set, select = $("score-detector");
  if (chosen !== undefined) {
    put(select, ...set.usable.map((label) => option(label)));
    select.value = set.usable.includes(chosen) ? chosen : set.usable[set.usable.length - 1] || "";
    $("score-axis").value = "";
  }
  const label = select.value, box = $("scores").querySelector(".plot");
  if (!label) { box.replaceChildren(); return; }
  const raw = Array.from(scoresOf(set, label)), positive = raw.every((value) => value > 0);
  $("score-axis").options[1].disabled = !positive;
  const spread = [...raw].sort((a, b) => a - b);
  if (!$("score-axis").value || ($("score-axis").value === "log" && !positive)) {
    $("score-axis").value = positive && quantile(spread, 0.99) > 30 * quantile(spread, 0.01) ? "log" : "linear";
  }
  histograms(box, set, label, raw, $("score-axis").value);
  const groups = strataOf(set);
  put($("scores-numbers").querySelector(".body"), table(`Scores of ${label} on ${set.name}`, ["Stratum", "Label", numeric("Items"), ...["Lowest", "Quarter", "Median", "Three quarters", "Highest"].map(numeric)],
    groups.map(({ name, label: memorized, members }) => {
      const values = members.map((item) => raw[item]).sort((a, b) => a - b);
      return [name, memorized ? "memorized" : "not", String(values.length), ...[0, 0.25, 0.5, 0.75, 1].map((share) => significant(quantile(values, share)))];
    })));
}

/** Strata with their items; one that holds both labels is two. Memorized ones come first. */
function strataOf(set) {
  const groups = [];
  for (const label of [1, 0]) {
    set.strata.forEach((name, index) => {
      const members = set.items.id.map((_, item) => item).filter((item) => set.items.stratum[item] === index && set.items.label[item] === label);
      if (members.length) groups.push({ name, label, members });
    });
  }
  return groups;
}

function histograms(box, set, label, raw, axis) {
  const groups = strataOf(set), values = axis === "rank" ? Array.from(percentiles(raw)) : axis === "log" ? raw.map(Math.log10) : raw;
  const low = Math.min(...values), high = Math.max(...values), bins = 40, each = 62, top = 8, height = top + groups.length * each + 48;
  const ticks = (value) => (axis === "log" ? significant(10 ** value) : tickText(value));
  const { svg, sx, inner } = frame(box, height, {
    title: `Scores of ${label} on ${set.name} by stratum`, description: `One histogram a stratum: ${listed(groups.map(({ name, label: memorized }) => `${name} (${memorized ? "memorized" : "not"})`))}. The table below holds quartiles.`,
    x: (left, right) => linearScale(low, high > low ? high : low + 1, left, right), y: (bottom, upper) => linearScale(0, 1, bottom, upper), yTicks: [],
    xName: axis === "rank" ? "percentile rank" : axis === "log" ? "score, logarithmic" : "score", margin: { left: 12, right: 14, top, bottom: 48 }, format: { x: ticks }, drop: 10,
  });
  groups.forEach(({ name, label: memorized, members }, place) => {
    const counts = new Array(bins).fill(0), base = top + (place + 1) * each, width = (inner.right - inner.left) / bins;
    for (const item of members) counts[Math.min(bins - 1, Math.floor(bins * (values[item] - low) / (high - low || 1)))] += 1;
    const most = Math.max(...counts);
    counts.forEach((n, bin) => {
      if (n) svg.append(s("rect", { class: memorized ? "positive" : "negative", x: inner.left + bin * width + 0.5, width: Math.max(1, width - 1), y: base - (each - 22) * n / most, height: (each - 22) * n / most }));
    });
    svg.append(s("line", { class: "axis", x1: inner.left, x2: inner.right, y1: base, y2: base }),
      s("text", { class: "halo", x: inner.left + 2, y: base - each + 18 }, `${name}: ${members.length} ${memorized ? "memorized" : "not memorized"}`));
    const middle = quantile(members.map((item) => values[item]).sort((a, b) => a - b), 0.5);
    svg.append(s("path", { class: "point", d: `M${sx(middle)} ${base}l-4 7h8z` }));
  });
  put(box, svg);
}

// Dose

function drawDose() {
  const set = DATA.sets[Number($("dose-set").value)], box = $("dose").querySelector(".plot");
  if (!set || !set.dose) return;
  const { doses, points, word, strata } = set.dose, labels = plottable(set);
  const all = labels.flatMap((label) => points[label].flat()).filter((value) => value !== null), bottom = Math.min(0.4, Math.floor(10 * Math.min(1, ...all)) / 10);
  const { svg, sx, sy } = frame(box, 336, {
    title: `AUROC against ${word} on ${set.name}`, description: `Each dose against all items that are not memorized; ${listed(labels)}. The table below holds the numbers.`,
    x: (low, high) => logScale(doses[0] / 1.4, doses[doses.length - 1] * 1.4, low, high), y: (low, high) => logitScale(bottom, 1, low, high),
    xTicks: doses, xName: word, yName: "AUROC", margin: MARGIN, format: { y: areaTick },
  });
  labels.forEach((label, place) => {
    const index = state.plotted.indexOf(label), shift = (place - (labels.length - 1) / 2) * 5;
    const known = points[label].map((values, i) => ({ values, at: i, x: sx(doses[i]) + shift })).filter(({ values }) => !values.includes(null));
    svg.append(s("path", { class: `series s${index}`, "stroke-dasharray": DASHES[index], d: line(known.map(({ values, x }) => [x, sy(values[0])])) }));
    known.forEach(({ values, at, x }) => svg.append(s("line", { class: `s${index}`, x1: x, x2: x, y1: sy(values[1]), y2: sy(values[2]) }),
      s("g", { class: `s${index}` }, marked(s("circle", { class: "dot", cx: x, cy: sy(values[0]), r: 4 }), label, `${doses[at]} ${word}`, `AUROC ${between(values)}`))));
  });
  put(box, tipGroup(svg));
  $("dose-note").textContent = `Strata ${listed(strata.map((index) => set.strata[index]))}, each against all ${set.negatives} items that are not memorized; 95\u00a0% intervals.`;
  put($("dose-numbers").querySelector(".body"), table(`AUROC on ${set.name} by ${word}`, ["Detector", ...doses.map((dose) => numeric(String(dose)))],
    Object.keys(points).map((label) => [named(label), ...points[label].map((values) => between(values))])));
}

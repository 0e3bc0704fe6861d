// The front page of a leaderboard: cards, and methods by sample sets under the questions that they ask. Who stands where,
// where each fails and which method a card names was computed by memdet; here it is drawn, and weights are applied.
const HEAT = [0.4, 0.47, 0.55, 0.65, 0.75, 0.85, 0.92, 0.96, 0.99];
const heat = (value) => `h${HEAT.filter((limit) => value >= limit).length}`;
const opened = new Set();
const setNamed = (name) => DATA.sets.find((set) => set.id === name);

function setUpFront() {
  if (!FRONT) return;
  $("front").hidden = false;
  FRONT.questions.forEach((question, index) => {
    const input = h("input", { type: "number", min: "0", max: "9", step: "0.5", value: "1", inputmode: "decimal", "data-question": question.name, oninput: () => weigh() });
    $("weights").querySelector(".body").append(h("label", null, question.name, " ", input));
    question.index = index;
  });
  $("weights").querySelector(".body").append(h("button", { type: "button", id: "weights-equal", onclick: () => { go({ weights: null }, true); readControls(); drawFront(); } }, "All equal"));
  $("front-others").addEventListener("change", drawFront);
  copiers($("front-copy"), boardHeads, boardLines, 1);
  $("outside").hidden = !FRONT.outside.length;
  put($("outside").querySelector(".body"), h("ul", null, FRONT.outside.map(([name, why]) => h("li", null, setLink(name), `: ${why}.`))));
}

/** Fields as the address says. */
function readControls() {
  if (!FRONT) return;
  const given = new Map((asked_for.weights || "").split(",").map((part) => part.split(":")).filter((pair) => pair.length === 2));
  for (const input of $("weights").querySelectorAll("input")) {
    const text = given.get(input.dataset.question), value = text === undefined || text.trim() === "" ? 1 : Number(text);
    input.value = String(Number.isFinite(value) && value >= 0 ? value : 1);
  }
  $("weights").open = $("weights").open || weighted();
  const budget = budgetAsked();
  if (asked_for.budget !== null) $("ask-budget").value = String(budget);
}

const weights = () => [...$("weights").querySelectorAll("input")].map((input) => Math.max(0, Number(input.value) || 0));
const weighted = () => weights().some((weight) => weight !== 1);

function weigh() {
  const changed = [...$("weights").querySelectorAll("input")].map((input, index) => [input.dataset.question, weights()[index]]).filter(([, weight]) => weight !== 1);
  go({ weights: changed.length ? changed.map((pair) => pair.join(":")).join(",") : null }, true);
  drawFront();
}

function budgetAsked() {
  const number_ = asked_for.budget === null ? NaN : Number(asked_for.budget);
  return Number.isFinite(number_) && number_ >= 0 && asked_for.budget.trim() !== "" ? number_ : FRONT.budget;
}

/** Mean gain under the weights; null where a question is missing, or all weights are nought. */
function mean(row) {
  const given = weights(), sum = given.reduce((a, b) => a + b, 0);
  if (row.gains.includes(null) || sum === 0) return null;
  return row.gains.reduce((total, gain, index) => total + gain * given[index], 0) / sum;
}

/** Rows with a rank, the best first, and those without one by name. */
function boardRows() {
  const shown = FRONT.rows.filter((row) => row.kind === "method" || $("front-others").checked);
  const ranked = shown.filter((row) => row.rank), rest = shown.filter((row) => !row.rank);
  if (weighted()) ranked.sort((a, b) => (mean(b) ?? -2) - (mean(a) ?? -2) || (a.label < b.label ? -1 : 1));
  return [ranked, rest];
}

function drawFront() {
  if (!FRONT) return;
  drawCards();
  const [ranked, rest] = boardRows(), sets = FRONT.questions.flatMap((question) => question.worlds.flatMap((world) => world.sets.map(([name]) => name)));
  drawBoardHead();
  const divider = rest.length ? h("tr", { class: "divider" }, h("td", { colspan: 4 + sets.length }, "Not ranked: scores are missing, or average other noise seeds than those of the others")) : null;
  put($("board").tBodies[0], ranked.flatMap((row, index) => boardRow(row, index, sets)), divider, rest.flatMap((row) => boardRow(row, null, sets)));
  tipGroup($("board"));
  put($("board-cards"), [...ranked, ...rest].map((row, index) => phoneCard(row, row.rank ? index : null)));
  $("weights-note").hidden = !weighted();
}

// Cards

function drawCards() {
  const { cards, within, unsolved } = FRONT, budget = budgetAsked(), step = within.filter(([least]) => least <= budget).pop();
  const focused = document.activeElement === $("budget");
  const field = $("budget") || h("input", { id: "budget", type: "number", min: "0", step: "1", inputmode: "numeric", "aria-label": "Network evaluations an item at most", oninput: () => {
    go({ budget: $("budget").value.trim() === "" || Number($("budget").value) === FRONT.budget ? null : $("budget").value }, true);
    $("ask-budget").value = String(budgetAsked());
    answer();
    drawCards();
  } });
  if (!focused) field.value = String(budget);
  const row = (place) => (place === null || place === undefined ? null : FRONT.rows[place]);
  put($("cards"), pickCard("overall", ["Best overall"], row(cards.best)),
    pickCard("within", [h("label", null, "Best within ", field, " evaluations")], row(step && step[1])),
    pickCard("forward", ["Best from one forward"], row(cards.forward)), unsolved ? unsolvedCard(unsolved) : null);
  if (focused) field.focus();
}

function pickCard(key, head, row) {
  if (!row) return h("article", { class: "card pick", "data-card": key }, h("h3", null, head), h("p", { class: "big" }, "none"), h("p", { class: "small" }, "No ranked method costs so little."));
  return h("article", { class: "card pick", "data-card": key, "data-pick": row.label }, h("h3", null, head), h("p", { class: "big" }, methodLink(row.label)),
    h("p", null, `gain ${between(row.gain, true)} \u00b7 rank ${rankText(row)} \u00b7 ${plural(row.evaluations, "evaluation")}`),
    h("p", null, h("span", { class: "worst-key", "aria-hidden": "true" }), `worst question: ${FRONT.questions[row.worst].name}, gain ${number(row.gains[row.worst], true)}`),
    failList(row), h("p", { class: "small" }, tiedText(row)));
}

/** The sets on which a pick fails, by reason. */
function failList(row, bare) {
  if (!row.fails.length) return h("p", { class: "fails" }, bare ? "none of the ranked sets" : "Fails on none of these sets.");
  return h("div", { class: "fails" }, row.fails.map(([why, sets], place) => h("p", null, place || bare ? null : h("strong", null, "Fails on "),
    sets.flatMap(([name, auroc], index) => [index ? ", " : "", setLink(name), auroc === null ? "" : ` ${number(auroc)}`]), `: ${why}.`)));
}

function tiedText(row, bare) {
  if (!row.tied.length) return bare ? "nobody" : "Tied with nobody.";
  const names = row.tied.slice(0, 3).map((place) => FRONT.rows[place].label), more = row.tied.length - names.length;
  return [bare ? "" : "Tied with ", names.flatMap((name, index) => [index ? ", " : "", methodLink(name)]), more > 0 ? ` and ${more} more.` : "."];
}

function unsolvedCard(one) {
  const question = FRONT.questions.find((other) => other.name === one.question);
  return h("article", { class: "card pick", "data-card": "unsolved" }, h("h3", null, one.solved ? "Nothing unsolved" : "Unsolved"), h("p", { class: "big" }, one.question),
    h("p", null, one.solved ? "The hardest question: " : "Nobody answers it well: ", "the best AUROC is ", h("strong", null, number(one.auroc)), ", by ", methodLink(one.label), "."),
    h("ul", null, namesOf(question).map((name) => h("li", null, setLink(name), setNamed(name)?.title ? `: ${setNamed(name).title}` : ""))));
}

const namesOf = (question) => question.worlds.flatMap((world) => world.sets.map(([name]) => name));
const rankText = (row) => (row.rank ? `${row.rank[0]} [${row.rank[1]}, ${row.rank[2]}]` : "-");

// The table

function drawBoardHead() {
  const head = (attributes, ...children) => h("th", { scope: "col", ...attributes }, ...children), { questions } = FRONT;
  const several = new Set(questions.flatMap((question) => question.worlds.map((world) => world.world))).size > 1, deep = several ? 3 : 2;
  const group = (question) => tip(h("span", { class: "tip-word" }, question.name), () => [question.name, h("ul", null, namesOf(question).map((name) => h("li", null, setLink(name), setNamed(name)?.title ? `: ${setNamed(name).title}` : "")))]);
  put($("board").tHead,
    h("tr", null, head({ rowspan: deep, class: "number rank" }, "Rank"), head({ rowspan: deep, class: "first" }, "Method"),
      head({ rowspan: deep, class: "mean" }, "Mean gain over questions ", h("span", { class: "small" }, "(", h("span", { class: "worst-key", "aria-hidden": "true" }), "worst one)")),
      head({ rowspan: deep, class: "number" }, "Evals"),
      questions.map((question) => h("th", { scope: "colgroup", class: "question", colspan: namesOf(question).length }, group(question)))),
    several ? h("tr", { class: "worlds" }, questions.flatMap((question) => question.worlds.map((world, index) => h("th", { scope: "colgroup", class: index ? null : "question", colspan: world.sets.length }, world.world)))) : null,
    h("tr", { class: "sets" }, questions.flatMap((question) => question.worlds.flatMap((world, place) => world.sets.map(([name, short], index) =>
      head({ class: place || index ? "set" : "set question" }, setLink(name, short)))))));
}

const rowClass = (row) => (row.yours ? "yours" : row.kind === "method" ? null : "other");
const kindMark = (row) => [row.kind === "method" ? null : h("span", { class: "kind" }, row.kind), row.yours ? h("span", { class: "tag best" }, "yours") : null];

/** A method's row, and where they are opened those of its variants. */
function boardRow(row, index, sets) {
  const value = mean(row), rank = weighted() ? (index === null ? "" : String(index + 1)) : row.rank ? String(row.rank[0]) : "";
  const toggle = row.variants.length ? h("button", { type: "button", class: "link fold", "aria-expanded": opened.has(row.label) ? "true" : "false", onclick: () => {
    opened[opened.has(row.label) ? "delete" : "add"](row.label);
    drawFront();
    [...$("board").querySelectorAll("tr[data-method]")].find((other) => other.dataset.method === row.label)?.querySelector(".fold").focus();
  }, "aria-label": plural(row.variants.length, "variant") }, String(row.variants.length)) : null;
  const cells = (label) => sets.map((name, place) => heatCell(label, name, starts(place)));
  return [h("tr", { "data-method": row.label, class: rowClass(row) },
    h("td", { class: "number rank" }, rank, weighted() || !row.rank ? null : h("span", { class: "range" }, ` [${row.rank[1]}, ${row.rank[2]}]`)),
    h("th", { scope: "row" }, methodName(row.label), toggle, kindMark(row)),
    h("td", { class: "mean" }, value === null ? "-" : h("div", { class: "measure" }, h("span", null, number(value, true)), gainBar(value, weighted() ? null : row.gain, row))),
    h("td", { class: "number" }, row.evaluations.toLocaleString("en")), cells(row.label)),
  ...(opened.has(row.label) ? row.variants.map(([label, gain]) => h("tr", { class: "variant", "data-variant": label },
    h("td", { class: "number rank" }), h("th", { scope: "row" }, methodName(label)),
    h("td", { class: "mean" }, gain === null ? "-" : h("div", { class: "measure" }, h("span", null, number(gain[0], true)), gainBar(gain[0], gain, null))), h("td", { class: "number" }, variantCost(label, sets)), cells(label))) : [])];
}

/** Whether a column begins a question. */
function starts(place) {
  let at = 0;
  return FRONT.questions.some((question) => { const first = at === place; at += namesOf(question).length; return first; });
}

const variantCost = (label, sets) => Math.max(0, ...sets.map((name) => setNamed(name)?.row[label]).filter((row) => row && row.status === "ok").map((row) => row.evaluations)).toLocaleString("en");

function methodName(label) {
  const [name, options] = label.split(/@(.*)/s);
  const title = (DATA.detectors[label] || {}).title;
  const link = viewLink({ set: null, method: label }, h("span", { class: "name" }, name), options ? h("span", { class: "options name" }, options.split(/(?<=,)/).flatMap((part, index) => (index ? [h("wbr"), part] : [part]))) : null);
  return title ? tip(link, () => [label, `${title[0].toUpperCase()}${title.slice(1)}.`]) : link;
}

function heatCell(label, name, first) {
  const row = setNamed(name)?.row[label], edge = first ? " question" : "";
  if (!row) return h("td", { class: `heat none${edge}` });
  const shown = row.auroc === null ? (row.status === "not-applicable" ? "\u2013" : "!") : number(row.auroc);
  const weak = row.auroc !== null && row.ranked && !row.control && !beats(row);
  const kind = row.auroc === null ? "none" : `${heat(row.auroc)}${row.ranked ? "" : " unranked"}`;
  return tip(h("td", { class: `heat ${kind}${edge}` }, weak ? h("em", null, shown) : shown, row.auroc !== null && !row.ranked ? h("span", { class: "hidden" }, ", other noise seeds") : ""), () => cellCard(row, name));
}

/** What the card of a cell says. */
function cellCard(row, name) {
  const facts = row.auroc === null ? [["", `${row.status}${row.message ? `: ${row.message}` : ""}`]] : [
    ["AUROC", between([row.auroc, row.auroc_low, row.auroc_high])],
    row.gain_over_control === null ? null : ["gain", `${between([row.gain_over_control, row.gain_over_control_low, row.gain_over_control_high], true)} over ${row.best_control}${beats(row) || row.control ? "" : ", not shown to be better"}`],
    row.tpr_at_1_fpr === null ? null : [`TPR at ${percent(0.01)} FPR`, between([row.tpr_at_1_fpr, row.tpr_at_1_fpr_low, row.tpr_at_1_fpr_high])],
    ["rank group", row.ranked ? String(row.tie_group ?? "-") : `none: averages ${plural(row.seeds, "noise seed")}, the others another number`],
    ["cost", `${plural(row.evaluations, "evaluation")} (${parts(row)})`]].filter(Boolean);
  return [`${row.detector} on ${name}`, h("dl", null, facts.map(([key, value]) => [h("dt", null, key), h("dd", null, value)])),
    h("p", null, methodLink(row.detector), " \u00b7 ", viewLink({ set: name, method: row.detector }, name))];
}

/** A bar from nought to the mean gain, its interval, and a mark at the worst question. */
function gainBar(value, interval, row) {
  const width = 88, lowest = Math.min(0, ...FRONT.rows.flatMap((other) => other.gains).filter((gain) => gain !== null)), at = (v) => 3 + (width - 6) * (Math.min(0.5, Math.max(lowest, v)) - lowest) / (0.5 - lowest);
  return s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true", focusable: "false" },
    s("line", { class: "grid", x1: at(lowest), x2: at(0.5), y1: 8, y2: 8 }),
    s("rect", { class: "bar-fill", x: Math.min(at(0), at(value)), y: 4, width: Math.max(1, Math.abs(at(value) - at(0))), height: 8 }),
    interval ? s("line", { class: "whisker", x1: at(interval[1]), x2: at(interval[2]), y1: 8, y2: 8 }) : null,
    s("line", { class: "axis", x1: at(0), x2: at(0), y1: 2, y2: 14 }),
    row && row.worst !== null ? s("line", { class: "worst", x1: at(row.gains[row.worst]), x2: at(row.gains[row.worst]), y1: 1, y2: 15 }) : null);
}

/** The same on a phone: a card a method, a box a question. */
function phoneCard(row, index) {
  const rank = weighted() && index !== null ? String(index + 1) : rankText(row), value = mean(row);
  return h("li", { class: rowClass(row) },
    h("p", { class: "line" }, h("span", null, methodName(row.label), kindMark(row)), h("span", { class: "range" }, row.rank ? `rank ${rank}` : "not ranked")),
    h("p", { class: "line" }, h("span", null, value === null ? "no mean" : `gain ${number(value, true)}`), value === null ? null : gainBar(value, weighted() ? null : row.gain, row), h("span", { class: "range" }, plural(row.evaluations, "evaluation"))),
    h("ul", { class: "chips" }, FRONT.questions.map((question, place) => h("li", { class: `heat ${row.aurocs[place] === null ? "none" : heat(row.aurocs[place])}` }, h("span", null, question.name), " ", row.aurocs[place] === null ? "\u2013" : number(row.aurocs[place])))));
}

// Copies

const boardSets = () => FRONT.questions.flatMap(namesOf);
const boardHeads = () => ["method", "rank", "rank low", "rank high", "gain", "gain low", "gain high", "evaluations", ...boardSets()];
const boardLines = () => boardRows().flat().map((row) => [row.label, ...(row.rank || [null, null, null]), ...(weighted() ? [mean(row), null, null] : row.gain || [null, null, null]), row.evaluations,
  ...boardSets().map((name) => setNamed(name)?.row[row.label]?.auroc ?? null)]);

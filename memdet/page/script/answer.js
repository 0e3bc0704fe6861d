// Which detector should I use?
const ORACLE = "training-data";

function setUpQuestion() {
  DATA.rates.forEach((rate, index) => $("ask-rate").append(option(index + 1, percent(rate))));
  const all = [...new Set(Object.values(DATA.detectors).filter((d) => !d.control).map((d) => d.access))].sort((a, b) => (a === ORACLE) - (b === ORACLE));
  for (const access of all) {
    $("ask-access").append(h("label", { class: "check" }, h("input", { type: "checkbox", value: access, checked: access !== ORACLE }), access === ORACLE ? "training-data (oracles)" : access));
  }
  $("question").addEventListener("input", answer);
  $("question").addEventListener("submit", (event) => event.preventDefault());
}

/** Whether a row may be an answer: it has numbers, they are ranked with those of the others, and it is no control. */
const eligible = (row) => row.status === "ok" && row.ranked && !row.control;
/** Whether a row is shown to be above the best control, where there is one. */
const beats = (row) => row.gain_over_control_low === null || row.gain_over_control_low > 0;
/** Sets on which anything but an oracle beats the controls. What the question admits does not matter, so that no budget changes them. */
const SOLVED = DATA.sets.filter((set) => set.rows.some((row) => eligible(row) && row.access !== ORACLE && beats(row)));
const counted = (rate) => SOLVED.filter((set) => resolves(set, rate));

/**
 * Best detector of a set among those that the question admits, and who is not told apart from it; null where there is none.
 *
 * The group is made as those of the tables are: of several with the best value, the first of the table leads. The
 * cheapest of these is shown. Who finds nothing at a rate is not named with one that does: where the best rate itself
 * is uncertain the test cannot tell them apart, but nobody would use it.
 */
function bestOf(set, measure, budget, access) {
  const admitted = set.rows.filter((row) => eligible(row) && access.has(row.access) && row.evaluations <= budget);
  if (!admitted.length) return null;
  const value = (row) => measured(set, measure, row.detector)[0];
  const leader = admitted.reduce((a, b) => (value(b) > value(a) ? b : a)).detector;
  const group = admitted.filter((row) => tied(set, measure, leader, row.detector) && (measure === 0 || value(row) > 0));
  const order = admitted.sort((a, b) => value(b) - value(a) || a.evaluations - b.evaluations || (a.detector < b.detector ? -1 : 1));
  const best = order[0];
  return { row: best, ties: order.filter((row) => row !== best && group.includes(row)), beats: beats(best) };
}

function asked() {
  const text = $("ask-budget").value.trim();
  return {
    level: Number($("ask-rate").value),
    budget: text === "" ? Infinity : Number(text),
    access: new Set([...$("ask-access").querySelectorAll("input:checked")].map((input) => input.value)),
  };
}

function answer() {
  $("verdict").hidden = FRONT !== null; // the cards of a leaderboard name methods by its ranking
  const { level, budget, access } = asked(), rate = DATA.rates[level - 1];
  const found = DATA.sets.map((set) => {
    const measure = resolves(set, rate) ? level : 0;
    return { set, measure, best: bestOf(set, measure, budget, access) };
  });
  verdict(found, level, budget, access);
  put($("answer-caption"), `The best detector of each sample set for ${limit(budget)}, by the share of memorized items that it finds at ${percent(rate)} FPR. 95\u00a0% intervals.`);
  put($("answers").tHead, h("tr", null, ["Sample set", "Best", numeric(`TPR at ${percent(rate)} FPR`), numeric("AUROC"), numeric("Evaluations"), numeric("Time"), "Tied with"].map((head) =>
    h("th", { scope: "col", class: head.number ? "number" : null }, head.text || head))));
  put($("answers").tBodies[0], found.map((entry) => answerRow(entry)));
  tipGroup($("answers"));
}

const limit = (budget) => (budget === Infinity ? "any number of network evaluations" : `at most ${plural(budget, "network evaluation")}`);

function answerRow({ set, measure, best }) {
  const head = h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => openSet(DATA.sets.indexOf(set)) }, set.name));
  if (!best) return h("tr", null, head, h("td", { colspan: 6 }, "no detector"));
  const { row } = best, rates = measured(set, measure, row.detector);
  const rate = measure === 0 ? "not resolvable" : h("div", { class: "measure" }, loud(rates), intervalBar(rates, 0, 1));
  const name = best.beats ? named(row.detector) : h("span", null, named(row.detector), " ", h("span", { class: "tag" }, "no better than a control"));
  const others = best.ties.map((other) => other.detector);
  const ties = others.length > 3 ? h("details", null, h("summary", null, plural(others.length, "detector")), named(others.join(", "))) : others.length ? named(others.join(", ")) : "none";
  const heads = [...$("answers").tHead.rows[0].cells].map((cell) => cell.textContent), cells = h("tr", null, head, h("td", null, name), h("td", { class: "number" }, rate),
    h("td", { class: "number" }, loud([row.auroc, row.auroc_low, row.auroc_high])),
    h("td", { class: "number" }, tip(h("span", { class: "tip-word" }, count(row.evaluations)), () => [row.detector, parts(row)])), h("td", { class: "number" }, duration(row.seconds)), h("td", null, ties));
  [...cells.cells].forEach((cell, index) => { if (index) cell.dataset.head = heads[index]; });
  return cells;
}

/**
 * Mean share that each admitted detector finds over some sets, the highest first.
 *
 * A set on which a detector has no ranked numbers counts as nothing found, so that nobody gains by leaving sets out. A
 * detector is admitted where its dearest set is within the budget. More budget admits more, so the highest mean never falls.
 */
function means(sets, level, budget, access) {
  const tally = new Map();
  for (const set of sets) {
    for (const row of set.rows.filter((entry) => eligible(entry) && access.has(entry.access))) {
      const entry = tally.get(row.detector) || { label: row.detector, sum: 0, costs: [], above: false };
      entry.sum += measured(set, level, row.detector)[0];
      entry.costs.push(row.evaluations);
      entry.above = entry.above || beats(row);
      tally.set(row.detector, entry);
    }
  }
  const mean = (entry) => ({ ...entry, mean: entry.sum / sets.length, least: Math.min(...entry.costs), most: Math.max(...entry.costs) });
  return [...tally.values()].map(mean).filter((entry) => entry.above && entry.mean > 0 && entry.most <= budget)
    .sort((a, b) => b.mean - a.mean || a.most - b.most || (a.label < b.label ? -1 : 1));
}

/** The detector with the highest mean share found over the sets that count, and the sets on which it fails. */
function verdict(found, level, budget, access) {
  const box = $("verdict"), rate = DATA.rates[level - 1], sets = counted(rate), order = means(sets, level, budget, access);
  Object.assign(box.dataset, { sets: sets.map((set) => set.id).join(" "), mean: order.length ? order[0].mean : 0, detector: order.length ? order[0].label : "" });
  if (!order.length) {
    const unresolved = DATA.sets.every((set) => !resolves(set, rate));
    const byArea = unresolved && found.some(({ best }) => best && best.beats);
    const why = unresolved ? `${percent(rate)} FPR is not resolvable on these sets, which have too few items that are not memorized; the table goes by AUROC.` : `No detector for ${limit(budget)} beats the best control.`;
    put(box, h("p", { class: "big" }, byArea ? "No answer at this rate." : "None."), h("p", null, why));
    return;
  }
  const [first, ...rest] = order, known = DATA.detectors[first.label], one = sets.length === 1 ? sets[0] : null;
  const costs = [...new Set([first.least, first.most].map(count))].join(" to "), counts = found.filter(({ set }) => sets.includes(set));
  const wins = counts.filter(({ best }) => best && best.beats && (best.row.detector === first.label || best.ties.some((row) => row.detector === first.label))).length;
  const where = one
    ? `On ${one.name} it finds ${share(measured(one, level, first.label))} of the memorized items at ${percent(rate)} FPR`
    : `Over ${sets.length} sample sets it finds ${whole(100 * first.mean)} % of the memorized items at ${percent(rate)} FPR, on average; on ${wins} of them nobody within the budget is shown to find more`;
  const next = rest.slice(0, 3).map((entry) => (one ? entry.label : `${entry.label} (${whole(100 * entry.mean)} %)`));
  put(box,
    h("p", { class: "big" }, "Use ", h("strong", null, named(first.label)), known.title ? `: ${known.title}.` : "."),
    h("p", null, `${where}, for ${costs} network ${costs === "1" ? "evaluation" : "evaluations"} an item. It looks at: ${known.access}.`),
    weaknesses(first.label, level, rate),
    next.length ? h("p", null, one ? "Next: " : "Next, with the mean share that each finds: ", named(next.join(", ")), ".") : null,
    h("p", { class: "small" }, collection(sets, rate)));
}

/** Sets on which a detector fails, and those on which others are shown to be better, each with its value. */
function weaknesses(label, level, rate) {
  const fails = [], behind = [];
  for (const set of SOLVED) {
    const row = set.row[label], measure = resolves(set, rate) ? level : 0, why = failure(set, row, measure);
    const others = set.rows.filter((entry) => eligible(entry) && entry.access !== ORACLE), value = (entry) => measured(set, measure, entry.detector)[0];
    const best = others.reduce((a, b) => (a && value(a) >= value(b) ? a : b), null);
    if (why) fails.push(`${set.name} (${why})`);
    else if (best && value(best) > value(row) && !tied(set, measure, best.detector, label)) behind.push(`${set.name} (${measure ? "TPR" : "AUROC"} ${number(value(row))}; ${number(value(best))} by ${best.detector})`);
  }
  return [
    fails.length ? h("p", { id: "fails" }, `It fails on ${listed(fails)}.`) : null,
    behind.length ? h("details", { id: "behind" }, h("summary", null, `On ${plural(behind.length, "set")} another, at whatever cost, is shown to be better`), h("ul", null, behind.map((text) => h("li", null, text)))) : null,
  ];
}

/** Why a detector is of no use on a set; an empty text where it is of some. */
function failure(set, row, measure) {
  if (!row) return "not run";
  if (row.status !== "ok") return row.status === "not-applicable" ? "does not apply" : row.status;
  if (!row.ranked) return "run with other noise seeds";
  if (!beats(row)) return `AUROC ${number(row.auroc)}, not shown to beat the best control`;
  return measure && !(measured(set, measure, row.detector)[0] > 0) ? "finds none" : "";
}

/** Which sets the mean is over, and why the others do not count. */
function collection(sets, rate) {
  const names = (chosen) => listed(chosen.map((set) => set.name));
  const unresolved = SOLVED.filter((set) => !sets.includes(set)), unsolved = DATA.sets.filter((set) => !SOLVED.includes(set));
  return [
    `The mean is over the ${sets.length === 1 ? "set" : `${sets.length} sets`} on which some detector, at whatever cost, beats the best control and ${percent(rate)} FPR is resolvable: ${names(sets)}. A set on which a detector was not run or does not apply counts as nothing found. `,
    unresolved.length ? `Not resolvable: ${names(unresolved)}. ` : "",
    unsolved.length ? `Nothing beats the best control on ${names(unsolved)}.` : "",
  ];
}

const share = ([value, low, high]) => `${whole(100 * value)} %${low === null ? "" : ` [${whole(100 * low)}, ${whole(100 * high)}]`}`;

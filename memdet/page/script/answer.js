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

/**
 * Best detector of a set among those that the question admits, and who is not told apart from it; null where there is none.
 *
 * The group is made as those of the tables are: of several with the best value, the first of the table leads. The
 * cheapest of these is shown.
 */
function bestOf(set, measure, budget, access) {
  const admitted = set.rows.filter((row) => row.status === "ok" && !row.control && access.has(row.access) && row.evaluations <= budget);
  if (!admitted.length) return null;
  const value = (row) => measured(set, measure, row.detector)[0];
  const leader = admitted.reduce((a, b) => (value(b) > value(a) ? b : a)).detector;
  const group = admitted.filter((row) => tied(set, measure, leader, row.detector));
  const order = admitted.sort((a, b) => value(b) - value(a) || a.evaluations - b.evaluations || (a.detector < b.detector ? -1 : 1));
  const best = order[0];
  return { row: best, ties: order.filter((row) => row !== best && group.includes(row)), beats: best.gain_over_control_low === null || best.gain_over_control_low > 0, admitted: order };
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
  const { level, budget, access } = asked(), rate = DATA.rates[level - 1];
  const found = DATA.sets.map((set) => {
    const measure = resolves(set, rate) ? level : 0;
    return { set, measure, best: bestOf(set, measure, budget, access) };
  });
  verdict(found, rate, budget);
  $("answer-caption").replaceChildren(`The best detector of each sample set for ${limit(budget)}, by the share of memorized items that it finds at ${percent(rate)} FPR. 95\u00a0% intervals.`);
  $("answers").tHead.replaceChildren(h("tr", null, ["Sample set", "Best", numeric(`TPR at ${percent(rate)} FPR`), numeric("AUROC"), numeric("Evaluations"), numeric("Time"), "Not told apart from it"].map((head) =>
    h("th", { scope: "col", class: head.number ? "number" : null }, head.text || head))));
  $("answers").tBodies[0].replaceChildren(...found.map((entry) => answerRow(entry)));
}

const limit = (budget) => (budget === Infinity ? "any number of network evaluations" : `at most ${plural(budget, "network evaluation")}`);

function answerRow({ set, measure, best }) {
  const head = h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => chooseSet(DATA.sets.indexOf(set), true) }, set.name));
  if (!best) return h("tr", null, head, h("td", { colspan: 6 }, "no detector"));
  const { row } = best, rates = measured(set, measure, row.detector);
  const rate = measure === 0 ? "not resolvable" : h("div", { class: "measure" }, loud(rates), intervalBar(rates, 0, 1));
  const name = best.beats ? named(row.detector) : h("span", null, named(row.detector), " ", h("span", { class: "tag" }, "no better than a control"));
  const others = best.ties.map((other) => other.detector);
  const ties = others.length > 3 ? h("details", null, h("summary", null, plural(others.length, "detector")), named(others.join(", "))) : others.length ? named(others.join(", ")) : "none";
  return h("tr", null, head, h("td", null, name), h("td", { class: "number" }, rate),
    h("td", { class: "number" }, loud([row.auroc, row.auroc_low, row.auroc_high])),
    h("td", { class: "number", title: parts(row) }, count(row.evaluations)), h("td", { class: "number" }, duration(row.seconds)), h("td", null, ties));
}

/** The detector that is best or tied with the best on most of the sets that can tell. */
function verdict(found, rate, budget) {
  const box = $("verdict");
  const telling = found.filter(({ best, measure }) => best && best.beats && measure > 0);
  if (!telling.length) {
    const byArea = found.filter(({ best }) => best && best.beats);
    const why = found.every(({ measure }) => measure === 0) ? `${percent(rate)} FPR is not resolvable on these sets, which have too few items that are not memorized; the table goes by AUROC.` : `No detector for ${limit(budget)} beats the best control.`;
    box.replaceChildren(h("p", { class: "big" }, byArea.length ? "No answer at this rate." : "None."), h("p", null, why));
    return;
  }
  const tally = new Map();
  for (const { set, measure, best } of telling) {
    for (const row of best.admitted) {
      const entry = tally.get(row.detector) || { label: row.detector, wins: 0, sum: 0, sets: 0, costs: [] };
      entry.wins += row === best.row || best.ties.includes(row) ? 1 : 0;
      entry.sum += measured(set, measure, row.detector)[0];
      entry.sets += 1;
      entry.costs.push(row.evaluations);
      tally.set(row.detector, entry);
    }
  }
  const order = [...tally.values()].sort((a, b) => b.wins - a.wins || b.sum / telling.length - a.sum / telling.length || Math.max(...a.costs) - Math.max(...b.costs));
  const [first, ...rest] = order, known = DATA.detectors[first.label];
  const costs = [...new Set([Math.min(...first.costs), Math.max(...first.costs)].map(count))].join(" to ");
  const one = telling.length === 1 ? telling[0] : null;
  const where = one
    ? `On ${one.set.name} it finds ${share(measured(one.set, one.measure, first.label))} of the memorized items at ${percent(rate)} FPR`
    : `On ${first.wins} of ${telling.length} sample sets it is the best, or not told apart from the best; on average it finds ${Math.round(100 * first.sum / first.sets)} % of the memorized items at ${percent(rate)} FPR`;
  const next = rest.slice(0, 3).map((entry) => (one ? entry.label : `${entry.label} (${entry.wins} of ${telling.length})`));
  const left = DATA.sets.length - telling.length;
  box.replaceChildren(
    h("p", { class: "big" }, "Use ", h("strong", null, named(first.label)), known.title ? `: ${known.title}.` : "."),
    h("p", null, `${where}, for ${costs} network ${costs === "1" ? "evaluation" : "evaluations"} an item. It looks at: ${known.access}.`),
    next.length ? h("p", null, one ? "Next: " : "Next, with the sets on which each is best or not told apart from the best: ", named(next.join(", ")), ".") : null,
    left && !one ? h("p", { class: "small" }, `${plural(left, "set")} of ${DATA.sets.length} ${left === 1 ? "does" : "do"} not count here: ${percent(rate)} FPR is not resolvable there, or nothing within the budget beats the best control.`) : null);
}

const share = ([value, low, high]) => `${Math.round(100 * value)} % [${Math.round(100 * low)}, ${Math.round(100 * high)}]`;

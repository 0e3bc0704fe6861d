// One method: what it computes, what it finds on each set, whom it beats, and what it gets wrong.
const WORST = 1; // items a set

function drawMethod(label) {
  const known = DATA.detectors[label] || {}, facts = DATA.methods[label.split("@")[0]] || null, place = FRONT ? FRONT.rows.findIndex((row) => row.label === label) : -1;
  const sets = DATA.sets.filter((set) => label in set.row), row = place >= 0 ? FRONT.rows[place] : null;
  put($("method-title"), named(label));
  put($("method-lead"), known.title ? `${known.title[0].toUpperCase()}${known.title.slice(1)}.` : "", h("span", { class: "tags" }, [known.control ? "control" : known.access, facts && !known.control ? facts.fidelity : null].filter(Boolean).map((text) => h("span", { class: "tag" }, text))));
  put($("method-body"), methodPaper(facts), methodFacts(label, facts, row, sets), facts ? methodText(facts) : null,
    methodProfile(label, sets), place >= 0 ? methodWins(place) : null, methodVariants(label), methodItems(label, sets), methodCommand(label, sets));
  tipGroup($("method-body"));
}

const part = (title, ...children) => h("section", { class: "part" }, h("h3", null, title), ...children);

function methodPaper(facts) {
  if (!facts) return h("p", { class: "note" }, "This page was made where the detector is not installed, so that it knows its scores alone.");
  const { paper, code } = facts, links = [paper && paper.link ? h("a", { href: paper.link, rel: "noreferrer" }, "paper") : null, code ? h("a", { href: code, rel: "noreferrer" }, "code") : null].filter(Boolean);
  return h("p", { class: "cite" }, paper ? [`${authorsOf(paper.authors)} (${paper.year}). `, h("em", null, paper.title), paper.venue ? `, ${paper.venue}. ` : ". "] : null,
    h("span", { class: "nowrap" }, links.flatMap((link, index) => [index ? " \u00b7 " : "", link])), " ", paper ? copier("BibTeX", () => `${paper.bibtex}\n`) : null, copier("link", () => location.href));
}

/** Family names; of many the first. */
function authorsOf(text) {
  const names = text.split(" and ").map((name) => name.split(",")[0].trim());
  return names.length > 3 ? `${names[0]} et al.` : listed(names);
}

function methodFacts(label, facts, row, sets) {
  const usable = sets.filter((set) => set.row[label].status === "ok").map((set) => set.row[label]), costs = usable.map((one) => one.evaluations), list = [];
  if (row && row.rank) list.push(["Rank", `${rankText(row)} of ${FRONT.rows.filter((one) => one.rank).length}`], ["Mean gain", `${between(row.gain, true)}; worst question ${FRONT.questions[row.worst].name}, ${number(row.gains[row.worst], true)}`]);
  else if (FRONT) list.push(["Rank", row ? "none: scores are missing, or average other noise seeds" : "none: another variant stands for this method, or it was run on too few sets"]);
  if (row) list.push(["Fails on", failList(row, true)], row.rank ? ["Tied with", h("span", null, tiedText(row, true))] : null);
  if (costs.length) list.push(["Evaluations", `${[...new Set([Math.min(...costs), Math.max(...costs)])].map((n) => n.toLocaleString("en")).join(" to ")} an item, over all noise seeds (${parts(usable[costs.indexOf(Math.max(...costs))])})`]);
  if (facts) list.push(["Declared cost", `${facts.cost}, an item and noise seed`]);
  if (facts && facts.at_size) list.push(["At the size of Stable Diffusion", `${facts.at_size.parts}: ${duration(facts.at_size.seconds)} an item, ${facts.at_size.tflop.toPrecision(3)} TFLOP, measured on ${facts.at_size.machine}, ${Math.round(facts.at_size.parameters / 1e6)} million parameters`]);
  if (facts && facts.headline) list.push(["Headline of its paper", inline(facts.headline)]);
  if (facts && facts.deviation) list.push(["How it differs", inline(facts.deviation)]);
  return h("dl", { class: "facts" }, list.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** Markdown of one line: what stands between backticks is code. */
const inline = (text) => text.split("`").map((piece, index) => (index % 2 ? h("code", null, piece) : piece));

function methodText({ text, options }) {
  const blocks = text.split(/\n\s*\n/).map((block) => block.trim()).filter(Boolean), [formula, ...rest] = blocks;
  return part("What it computes", h("p", { class: "formula" }, inline(formula || "")), rest.map((block) => h("p", null, inline(block.replace(/\s+/g, " ")))),
    options.length ? h("details", null, h("summary", null, plural(options.length, "option")), h("ul", null, options.map((one) => h("li", null, h("code", null, one.name), " (", inline(one.kind), "; default ", inline(one.default), ")", one.text ? [": ", inline(one.text)] : ".")))) : null);
}

/** Its figures on each set, those of a question together. */
function methodProfile(label, sets) {
  const asks = new Map(FRONT ? FRONT.questions.flatMap((question) => namesOf(question).map((name) => [name, question.name])) : []);
  const order = [...asks.keys()], at = (set) => (asks.has(set.id) ? order.indexOf(set.id) : order.length);
  const sorted = [...sets].sort((a, b) => at(a) - at(b));
  const lines = sorted.map((set) => {
    const row = set.row[label], best = Math.max(0, ...set.rows.filter((other) => other.control && other.auroc !== null).map((other) => other.auroc)) || null;
    const link = viewLink({ set: set.name, method: label }, set.name), question = asks.get(set.id) || "";
    if (row.status !== "ok") return [link, question, row.status === "not-applicable" ? "does not apply" : row.status, "", "", "", ""];
    const values = [row.auroc, row.auroc_low, row.auroc_high], gain = row.gain_over_control === null ? "-" : between([row.gain_over_control, row.gain_over_control_low, row.gain_over_control_high], true);
    return [link, question, beats(row) || row.control ? between(values) : h("em", null, between(values)), intervalBar(values, LEAST_AREA, 1, { reference: best, control: row.control, logit: true, width: 220 }), gain,
      row.ranked ? String(row.tie_group ?? "-") : plural(row.seeds, "seed"), row.tpr_at_1_fpr === null ? "-" : number(row.tpr_at_1_fpr)];
  });
  return part("Profile over questions", h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Profile over questions" },
    table("Italics: not shown to beat the best control, which is dashed. The axis spreads values near 1.", ["Sample set", "Question", numeric("AUROC"), "drawn", numeric("Gain"), numeric("Rank group"), numeric(`TPR at ${percent(0.01)} FPR`)], lines)));
}

/** On how many sets it is shown to be above each other method, and below. */
function methodWins(place) {
  const lines = FRONT.rows.map((other, index) => [other, FRONT.wins[place][index], FRONT.wins[index][place], FRONT.both[place][index]]).filter(([, , , n]) => n > 0)
    .sort((a, b) => (b[1] - b[2]) - (a[1] - a[2]) || (a[0].label < b[0].label ? -1 : 1));
  const won = lines.reduce((sum, [, above]) => sum + above, 0), lost = lines.reduce((sum, [, , below]) => sum + below, 0);
  return part("Against all others", h("details", { id: "wins" }, h("summary", null, `Shown to be above in ${won} paired comparisons, below in ${lost}`),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Paired comparisons" }, table("On how many of the ranked sets: paired tests of AUROCs on the same items, adjusted over all pairs of a set (Holm, .05).", ["Method", numeric("above it"), numeric("tied"), numeric("below it"), numeric("sets")],
      lines.map(([other, above, below, n]) => [methodLink(other.label), String(above), String(n - above - below), String(below), String(n)])))));
}

function methodVariants(label) {
  const name = label.split("@")[0], others = methodLabels().filter((other) => other.split("@")[0] === name && other !== label);
  return others.length ? part("Variants", h("ul", null, others.map((other) => h("li", null, methodLink(other))))) : null;
}

/** What it ranks most wrongly, an item a set; those of a set on which it finds nothing say nothing. */
function methodItems(label, sets) {
  const chosen = sets.filter((set) => set.usable.includes(label) && beats(set.row[label])).flatMap((set) => {
    const ranks = ranksOf(set, label), { items } = set, wrong = (index) => (items.label[index] === 1 ? ranks[index] : 100 - ranks[index]);
    return items.id.map((id, index) => index).sort((a, b) => wrong(a) - wrong(b)).slice(0, WORST).map((index) => [set, itemOf(set, index, ranks)]);
  });
  if (!chosen.length) return null;
  return part("Its worst items", h("details", { id: "worst-items", open: true }, h("summary", null, "What it ranks most wrongly on each set where it beats the controls"), h("ol", { class: "item-list" }, chosen.map(([set, item]) => itemRow(set, item, label, set.name)))));
}

function methodCommand(label, sets) {
  const names = FRONT ? boardSets().filter((name) => sets.some((set) => set.id === name)) : sets.map((set) => set.id);
  if (!names.length) return null;
  const seeds = Math.max(...names.map((name) => setNamed(name).row[label].seeds)), quoted = /^[\w@=.,+-]+$/.test(label) ? label : `'${label.replaceAll("'", "'\\''")}'`;
  const command = `memdet run ${names.join(" ")} --detector ${quoted} --seeds ${seeds} --out runs/mine`;
  return part("Run it", h("pre", null, h("code", null, command)), copier("command", () => command));
}

// The leaderboard of one sample set.
const COLUMNS = [
  { key: "detector", text: "Detector", first: true },
  { key: "auroc", text: "AUROC", number: true, down: true },
  { key: "tie_group", text: "Rank group" },
  { key: "tpr_at_1_fpr", text: "TPR at 1\u00a0% FPR", number: true, down: true },
  { key: "evaluations", text: "Evaluations", number: true },
  { key: "seconds", text: "Time an item", number: true },
  { key: "gain_over_control", text: "Gain over control", number: true, down: true },
  { key: "rank_correlation", text: "Rank corr.", number: true, down: true },
  { key: "access", text: "Access" },
];
const sorting = { key: "auroc", down: true };

function setUpTable() {
  for (const access of [...new Set(Object.values(DATA.detectors).map((detector) => detector.access))].sort()) $("filter-access").append(option(access));
  $("table").tHead.append(h("tr", null,
    h("th", { scope: "col", class: "pick" }, h("div", null, "Plot")),
    COLUMNS.map((column) => h("th", { scope: "col", id: `column-${column.key}`, class: [column.number ? "number" : "", column.first ? "first" : ""].join(" ").trim() || null },
      h("button", { type: "button", onclick: () => sortBy(column) }, column.text)))));
  $("filters").addEventListener("input", drawTable);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  const fields = ["detector", "auroc", "auroc_low", "auroc_high", "tie_group", "tpr_at_1_fpr", "tpr_at_1_fpr_low", "tpr_at_1_fpr_high", "evaluations", "seconds", "gain_over_control", "gain_over_control_low", "gain_over_control_high", "rank_correlation", "access"];
  copiers($("table-copy"), () => fields, () => ordered(state.set.rows.filter((row) => row.status === "ok").filter(admits)).map((row) => fields.map((name) => row[name] ?? null)), 1);
}

function sortBy(column) {
  sorting.down = sorting.key === column.key ? !sorting.down : Boolean(column.down);
  sorting.key = column.key;
  drawTable();
}

/** Rows first by the sorted column, those without a value last, then by name. */
function ordered(rows) {
  const { key, down } = sorting;
  return [...rows].sort((a, b) => {
    const [one, other] = [a[key], b[key]];
    if (one === null || other === null) return (one === null) - (other === null) || (a.detector < b.detector ? -1 : 1);
    const way = typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other;
    return (down ? -way : way) || (a.detector < b.detector ? -1 : 1);
  });
}

function admits(row) {
  const words = $("filter-text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${row.detector} ${row.title} ${(DATA.detectors[row.detector] || {}).paper || ""} ${row.access}`.toLowerCase();
  const access = $("filter-access").value, cost = $("filter-cost").value.trim();
  return words.every((word) => text.includes(word)) && (!access || row.access === access) && (cost === "" || row.evaluations <= Number(cost))
    && ($("filter-controls").checked || !row.control);
}

function drawTable() {
  const set = state.set;
  const live = set.rows.filter((row) => row.status === "ok"), shown = ordered(live.filter(admits));
  const controls = live.filter((row) => row.control && row.auroc !== null).map((row) => row.auroc);
  const control = controls.length ? Math.max(...controls) : null;
  for (const column of COLUMNS) {
    const head = $(`column-${column.key}`);
    if (sorting.key === column.key) head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  $("table-caption").textContent = `Detectors on ${set.name}`;
  const alone = seedsOf(set) === 1 && set.rows.some((row) => row.draws === 1);
  const from = LEAST_AREA;
  put($("table-note"), `95\u00a0% intervals, ${alone ? "of items alone: all share one noise draw" : "of items and noise draws"}. AUROC bars run from ${areaTick(from)} to 1 and spread what is near 1, those of the TPR from 0 to 1; dashes mark the best control. *\u00a0control, which never calls the model. Rank groups are by AUROC. Evaluations: F + JVP + VJP an item, over all its noise seeds.`,
    live.some((row) => !row.ranked) ? " Seeds instead of a group: averaged over other noise seeds than the others, so not ranked with them." : null);
  put($("table").tBodies[0], ...shown.map((row) => tableRow(set, row, from, control)));
  tipGroup($("table"));
  $("filter-count").textContent = `${shown.length} of ${plural(live.length, "detector")}`;
  drawAbsent(set);
}

function tableRow(set, row, from, control) {
  const area = [row.auroc, row.auroc_low, row.auroc_high], rate = [row.tpr_at_1_fpr, row.tpr_at_1_fpr_low, row.tpr_at_1_fpr_high];
  const measure = (values, start, options) => (values[0] === null ? null : h("div", { class: "measure" },
    loud(values), intervalBar(values, start, 1, options)));
  const gain = [row.gain_over_control, row.gain_over_control_low, row.gain_over_control_high];
  const picked = state.plotted.includes(row.detector);
  return h("tr", { class: row.control ? "control" : null, "data-detector": row.detector },
    h("td", { class: "pick" }, h("input", { type: "checkbox", checked: picked, "aria-label": `Plot ${row.detector}`, onchange: (event) => plot(row.detector, event.target.checked) })),
    h("th", { scope: "row" }, row.title ? tip(methodLink(row.detector), () => [row.detector, `${row.title[0].toUpperCase()}${row.title.slice(1)}.`]) : methodLink(row.detector), row.control ? h("span", { class: "hidden" }, "control") : null),
    h("td", { class: "number", "data-head": "AUROC" }, measure(area, from, { reference: control, control: row.control, logit: true }) || "-"),
    h("td", { "data-head": "Rank group" }, groupOf(row)),
    h("td", { class: "number", "data-head": "TPR at 1\u00a0% FPR" }, measure(rate, 0, { control: row.control }) || "not resolvable"),
    h("td", { class: "number", "data-head": "Evaluations" }, row.evaluations === 0 ? "0" : tip(h("span", { class: "tip-word" }, count(row.evaluations)), () => [`${plural(row.evaluations, "evaluation")} an item`, parts(row)])),
    h("td", { class: "number", "data-head": "Time an item" }, duration(row.seconds)),
    h("td", { class: "number", "data-head": "Gain over control" }, row.gain_over_control === null ? "-" : loud(gain, true)),
    h("td", { class: "number", "data-head": "Rank corr." }, number(row.rank_correlation)),
    h("td", { "data-head": "Access" }, row.access));
}

/** Its group; of a row that is not ranked, why. */
function groupOf(row) {
  if (!row.ranked) return tip(h("span", { class: "tag" }, plural(row.seeds, "seed")), () => ["Not ranked", "Averaged over another number of noise seeds than the others, so not ranked with them."]);
  return row.tie_group ? h("span", { class: row.tie_group === 1 ? "tag best" : "tag" }, row.tie_group) : "";
}

/** Detectors without numbers, by their reason. */
function drawAbsent(set) {
  const reasons = new Map();
  for (const row of set.rows.filter((entry) => entry.status !== "ok")) {
    const reason = row.status + (row.message ? `: ${row.message}` : "");
    reasons.set(reason, [...(reasons.get(reason) || []), row.detector]);
  }
  const n = [...reasons.values()].flat().length;
  $("absent").hidden = n === 0;
  $("absent").querySelector("summary").textContent = `${plural(n, "detector")} without numbers here, and why`;
  put($("absent").querySelector(".body"), h("ul", null, [...reasons].map(([reason, labels]) => h("li", null, named(labels.join(", ")), ` \u2013 ${reason}.`))));
}

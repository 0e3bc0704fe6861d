// The leaderboard of one sample set.
const COLUMNS = [
  { key: "detector", text: "Detector", first: true },
  { key: "auroc", text: "AUROC", number: true, down: true },
  { key: "tie_group", text: "Group" },
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
  const lows = live.map((row) => row.auroc_low).filter((value) => value !== null);
  const from = Math.min(0.4, Math.floor(10 * Math.min(1, ...lows)) / 10);
  const controls = live.filter((row) => row.control && row.auroc !== null).map((row) => row.auroc);
  const control = controls.length ? Math.max(...controls) : null;
  for (const column of COLUMNS) {
    const head = $(`column-${column.key}`);
    if (sorting.key === column.key) head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  $("table-caption").textContent = `Detectors on ${set.name}`;
  const alone = seedsOf(set) === 1 && set.rows.some((row) => row.draws === 1);
  put($("table-note"), `95\u00a0% intervals, ${alone ? "of items alone: all share one noise draw" : "of items and noise draws"}. AUROC bars run from ${number(from)} to 1, those of the TPR from 0 to 1; dashes mark the best control. *\u00a0control, which never calls the model. Groups are by AUROC. Evaluations: F + JVP + VJP an item, over all its noise seeds.`,
    live.some((row) => !row.ranked) ? " Seeds instead of a group: averaged over other noise seeds than the others, so not ranked with them." : null);
  put($("table").tBodies[0], ...shown.map((row) => tableRow(set, row, from, control)));
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
    h("th", { scope: "row" }, named(row.detector), row.control ? h("span", { class: "hidden" }, "control") : null, row.title ? h("span", { class: "title" }, row.title) : null),
    h("td", { class: "number" }, measure(area, from, { reference: control, control: row.control }) || "-"),
    h("td", null, groupOf(row)),
    h("td", { class: "number" }, measure(rate, 0, { control: row.control }) || "not resolvable"),
    h("td", { class: "number" }, row.evaluations === 0 ? "0" : h("span", null, count(row.evaluations), h("span", { class: "title" }, parts(row)))),
    h("td", { class: "number" }, duration(row.seconds)),
    h("td", { class: "number" }, row.gain_over_control === null ? "-" : loud(gain, true)),
    h("td", { class: "number" }, number(row.rank_correlation)),
    h("td", null, row.access));
}

/** Its group; of a row that is not ranked, why. */
function groupOf(row) {
  if (!row.ranked) return h("span", { class: "tag", title: "Averaged over another number of noise seeds than the others, so not ranked with them." }, plural(row.seeds, "seed"));
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

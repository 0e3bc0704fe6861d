// Puts the page together.
const state = { set: DATA.sets[0], plotted: [] };
const THEMES = ["auto", "light", "dark"];

/** Open a set: on a leaderboard its view, on the page of a run its sections. */
function openSet(index) {
  if (FRONT) { go({ set: NAMES[index], method: null }); return; }
  go({ set: NAMES[index] }, true);
  chooseSet(index);
  $("leaderboard").scrollIntoView();
  $("set").focus({ preventScroll: true });
}

/** Draw a set; a detector that is named is among those plotted, and items are sorted with its scores. */
function chooseSet(index, label) {
  state.set = DATA.sets[index];
  $("set").value = String(index);
  const set = state.set, first = set.rows.find((row) => row.status === "ok") || { n_positive: 0, n_negative: set.negatives };
  const best = set.row[label]?.status === "ok" ? set.row[label] : set.rows.filter((row) => eligible(row) && row.access !== ORACLE && row.auroc !== null).reduce((a, b) => (a && a.auroc >= b.auroc ? a : b), null);
  $("set-size").textContent = `${set.items.label.length - set.negatives} memorized, ${set.negatives} not, ${plural(seedsOf(set), "noise seed")}`;
  for (const element of document.querySelectorAll(".set-name")) element.textContent = set.name;
  $("set-title").textContent = set.title ? `${set.title}.` : "";
  put($("set-facts").querySelector(".body"), h("dl", null, factsOf(set, first).map(([name, value]) => [h("dt", null, name), h("dd", null, value)])));
  state.plotted = [...defaultPlotted(set).filter((other) => other !== label), ...(set.usable.includes(label) ? [label] : [])];
  if (set.dose) $("dose-set").value = String(index);
  drawTable();
  drawPlots(best ? best.detector : "");
  resetItems(set, best ? best.detector : "");
}

function factsOf(set, row) {
  const { model, steps, guidance, noise } = set.protocol;
  const facts = [["Items", `${set.items.label.length - set.negatives} memorized, ${set.negatives} not, in ${plural(row.n_clusters ?? set.n, "cluster")}`]];
  if (row.n_effective) facts.push(["Effective number", `${Math.round(row.n_effective)} clusters on the smaller side`]);
  if (set.label_rule) facts.push(["Memorized means", set.label_rule]);
  const how = [steps === null ? null : `DDIM with ${steps} steps`, guidance === null ? null : `guidance ${guidance}`, noise === null ? null : `${noise} noise`];
  if (model) facts.push(["Model", [model, how.filter((part) => part !== null).join(", ")].filter(Boolean).join("; ")]);
  if (set.audit) facts.push(["Audit", set.audit]);
  if (set.known_problems.length) facts.push(["Known problems", h("ul", null, set.known_problems.map((problem) => h("li", null, problem)))]);
  return facts;
}

function drawPlots(best) {
  drawLegend();
  drawCurves();
  drawCost();
  drawAllCosts();
  drawScores(best);
  drawDose();
}

function setUpHead() {
  const ran = [...new Set(DATA.sets.flatMap((set) => set.usable))], controls = ran.filter((label) => (DATA.detectors[label] || {}).control).length;
  const items = DATA.sets.reduce((sum, set) => sum + set.n, 0), seeds = DATA.sets.map(seedsOf), [fewest, most] = [Math.min(...seeds), Math.max(...seeds)];
  const silent = Object.keys(DATA.detectors).length - ran.length, none = silent ? ` ${plural(silent, "more")} ${silent === 1 ? "has" : "have"} no numbers on any of them.` : "";
  $("ran").textContent = `${plural(ran.length - controls, "detector")} and ${plural(controls, "control")} on ${plural(DATA.sets.length, "sample set")}: ${plural(items, "item")}, ${fewest < most ? `${fewest} to ` : ""}${plural(most, "noise seed")}.${none}`;
  const made = [`memdet ${DATA.version}`, `metrics version ${DATA.metrics}`, DATA.date ? `newest scores of ${DATA.date}` : null].filter(Boolean);
  $("made").textContent = `${made.join(" \u00b7 ")}.`;
  $("provenance").querySelector(".body").append(...DATA.runs.map((run, index) => h("dl", null, [
    DATA.runs.length > 1 ? ["Run", String(index + 1)] : null,
    run.command ? ["Command", h("code", null, run.command)] : null,
    run.started ? ["Started", run.started] : null,
    machineOf(run) ? ["Machine", machineOf(run)] : null,
    run.packages ? ["Versions", [...Object.entries(run.packages), ["Python", run.python]].filter(([, version]) => version).map(([name, version]) => `${name} ${version}`).join(", ")] : null,
    run.git_revision ? ["Revision", h("code", null, run.git_revision)] : null,
  ].filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]))));
}

/** What a run was computed on, as far as it says. */
function machineOf(run) {
  const cores = run.threads ?? run.cores;
  return [[run.processor, cores ? plural(cores, "thread") : null].filter(Boolean).join(", "), run.device].filter(Boolean).join("; ");
}

/** The set that the page opens on: the first in the order that specs declare, else one that shows as much as there is. */
function firstSet() {
  const declared = DATA.sets.map((set) => set.order ?? Infinity), least = Math.min(...declared);
  if (least < Infinity) return declared.indexOf(least);
  return Math.max(0, DATA.sets.findIndex((set) => set.protocol.model && set.title && resolves(set, 0.01) && set.task === "prompt" && set.items.extraction[0] !== null));
}

function setUpTheme() {
  let theme = "auto";
  try { theme = localStorage.getItem("memdet-theme") || "auto"; } catch { /* a page without storage */ }
  const show = () => {
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Colours: ${theme}`;
  };
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try { localStorage.setItem("memdet-theme", theme); } catch { /* a page without storage */ }
    show();
  });
  show();
}

function setUpWidth() {
  let width = document.documentElement.clientWidth, waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      if (document.documentElement.clientWidth === width) return;
      width = document.documentElement.clientWidth;
      if ($("view-set").hidden) return;
      drawCurves(); drawCost(); drawAllCosts(); drawScores(); drawDose();
    });
  });
}

setUpTheme();
setUpTips();
setUpHead();
setUpQuestion();
setUpTable();
setUpPlots();
setUpItems();
NAMES.forEach((name, index) => $("set").append(option(index, name)));
$("set").addEventListener("change", () => go({ set: NAMES[Number($("set").value)], ...(FRONT ? { method: null } : {}) }, !FRONT));
setUpViews();
setUpFront();
readAddress();
readControls();
drawFront();
answer();
restore(false);
setUpWidth();
document.body.classList.remove("drawing");

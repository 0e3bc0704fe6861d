// Puts the page together.
const state = { set: DATA.sets[0], plotted: [] };
const THEMES = ["auto", "light", "dark"];

function chooseSet(index, jump) {
  state.set = DATA.sets[index];
  $("set").value = String(index);
  const set = state.set, first = set.rows.find((row) => row.status === "ok") || { n_positive: 0, n_negative: set.negatives };
  const best = set.rows.filter((row) => row.status === "ok" && !row.control && row.access !== ORACLE && row.auroc !== null).reduce((a, b) => (a && a.auroc >= b.auroc ? a : b), null);
  $("set-size").textContent = `${set.items.label.length - set.negatives} memorized, ${set.negatives} not, ${plural(Math.max(...set.rows.map((row) => row.seeds)), "noise seed")}`;
  for (const element of document.querySelectorAll(".set-name")) element.textContent = set.name;
  $("set-title").textContent = set.title ? `${set.title}.` : "";
  put($("set-facts").querySelector(".body"), h("dl", null, factsOf(set, first).map(([name, value]) => [h("dt", null, name), h("dd", null, value)])));
  state.plotted = defaultPlotted(set);
  if (set.dose) $("dose-set").value = String(index);
  drawTable();
  drawPlots(best ? best.detector : "");
  resetItems(set, best ? best.detector : "");
  if (jump) {
    $("leaderboard").scrollIntoView();
    $("set").focus({ preventScroll: true });
  }
}

function factsOf(set, row) {
  const { model, steps, guidance, noise } = set.protocol;
  const facts = [["Items", `${set.items.label.length - set.negatives} memorized, ${set.negatives} not, in ${plural(row.n_clusters ?? set.n, "cluster")}`]];
  if (row.n_effective) facts.push(["Effective number", `${Math.round(row.n_effective)} clusters on the smaller side`]);
  if (set.label_rule) facts.push(["Memorized means", set.label_rule]);
  if (model) facts.push(["Model", `${model}; DDIM with ${steps} steps, guidance ${guidance}, ${noise} noise`]);
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
  const labels = Object.values(DATA.detectors), controls = labels.filter((detector) => detector.control).length;
  const items = DATA.sets.reduce((sum, set) => sum + set.n, 0), seeds = [...new Set(DATA.sets.flatMap((set) => set.rows.map((row) => row.seeds)))];
  $("ran").textContent = `${plural(labels.length - controls, "detector")} and ${plural(controls, "control")} on ${plural(DATA.sets.length, "sample set")}: ${items.toLocaleString("en")} items, ${plural(Math.max(...seeds), "noise seed")}.`;
  $("provenance").querySelector(".body").append(...DATA.runs.map((run, index) => h("dl", null, [
    DATA.runs.length > 1 ? ["Run", String(index + 1)] : null,
    run.command ? ["Command", h("code", null, run.command)] : null,
    run.started ? ["Started", run.started] : null,
    run.processor ? ["Machine", `${run.processor}, ${plural(run.threads ?? run.cores, "thread")}; ${run.device}`] : null,
    run.packages ? ["Versions", Object.entries(run.packages).map(([name, version]) => `${name} ${version}`).join(", ") + `, Python ${run.python}`] : null,
    run.git_revision ? ["Revision", h("code", null, run.git_revision)] : null,
  ].filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]))));
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
      drawCurves(); drawCost(); drawAllCosts(); drawScores(); drawDose();
    });
  });
}

setUpTheme();
setUpHead();
setUpQuestion();
setUpTable();
setUpPlots();
setUpItems();
NAMES.forEach((name, index) => $("set").append(option(index, name)));
$("set").addEventListener("change", () => chooseSet(Number($("set").value)));
answer();
chooseSet(Math.max(0, DATA.sets.findIndex((set) => set.protocol.model && set.title && resolves(set, 0.01) && set.task === "prompt" && set.items.extraction[0] !== null)));
setUpWidth();

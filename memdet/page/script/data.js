// The payload, and what is derived from it. `set` below is one sample set of a run.
const DATA = JSON.parse(document.getElementById("data").textContent);
const NAMES = DATA.sets.map((set) => set.id + (DATA.sets.filter((other) => other.id === set.id).length > 1 ? ` (run ${set.run + 1})` : ""));
const decoded = new Map();

DATA.sets.forEach((set, index) => {
  set.name = NAMES[index];
  set.rows = set.rows.map((values) => Object.fromEntries(DATA.fields.map((field, place) => [field, values[place]])));
  set.usable = set.rows.filter((row) => row.status === "ok").map((row) => row.detector);
  set.n = set.items.id.length;
  set.negatives = set.items.label.filter((label) => label === 0).length;
  for (const row of set.rows) {
    const known = DATA.detectors[row.detector] || {};
    row.control = Boolean(known.control);
    row.evaluations = wholeEvaluations((row.forwards + row.jvps + row.vjps) * row.seeds);
    row.seconds = row.seconds_per_item === null ? null : row.seconds_per_item * row.seeds;
    row.title = known.title || "";
  }
  set.row = Object.fromEntries(set.rows.map((row) => [row.detector, row]));
});

/** Evaluations as they are shown and held against a budget: whole ones, since what all items share is a few hundredths of one each. */
function wholeEvaluations(exact) {
  return exact > 0 ? Math.max(1, Math.round(exact)) : 0;
}

/** Noise seeds over which the ranked rows of a set are averaged; controls do not count. */
function seedsOf(set) {
  const bound = set.rows.filter((row) => row.ranked && (DATA.detectors[row.detector] || {}).seeded).map((row) => row.seeds);
  return Math.max(...(bound.length ? bound : set.rows.map((row) => row.seeds)));
}

/** Scores of a detector, one an item: base64 of little-endian float32 or, where longer, float64. */
function scoresOf(set, label) {
  const key = `${set.run}/${set.id}/${label}`;
  if (!decoded.has(key)) {
    const bytes = Uint8Array.from(atob(set.scores[label]), (letter) => letter.charCodeAt(0));
    decoded.set(key, bytes.length === 4 * set.n ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer));
  }
  return decoded.get(key);
}

/** Whether two usable detectors are tied in a measure: 0 is AUROC, 1 and up the TPR at each rate. */
function tied(set, measure, one, other) {
  return set.tied[measure][set.usable.indexOf(one)][set.usable.indexOf(other)] === "1";
}

/** Value and bounds of a measure: 0 is AUROC, 1 and up the TPR at each rate. */
function measured(set, measure, label) {
  const row = set.row[label];
  return measure === 0 ? [row.auroc, row.auroc_low, row.auroc_high] : set.tpr[label][measure - 1];
}

/** Whether a set has negatives enough for a rate. */
function resolves(set, rate) {
  return rate * set.negatives >= 1 - 1e-9;
}

/** Condition of an item, or its id where the condition is not known. */
function promptOf(set, index) {
  const condition = set.items.condition[index];
  return condition < 0 ? null : DATA.conditions[condition];
}

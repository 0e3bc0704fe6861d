// The items of one sample set: their images, and their score under every detector.
const STEP = 20;
const SORTS = {
  disagreement: ["disagreement between detectors", (item) => -(item.disagreement ?? 0)],
  suspicious: ["mean rank, highest first", (item) => -(item.rank ?? 0)],
  highest: ["score of the detector, highest first", (item) => -item.own],
  lowest: ["score of the detector, lowest first", (item) => item.own],
  missed: ["what the detector ranks most wrongly", (item) => (item.label === 1 ? item.own : 100 - item.own)],
  copies: ["measured share of copies, most first", (item) => -(item.extraction ?? -1)],
  id: ["id", (item) => item.id],
};
const listing = { shown: STEP, order: [] };
const sheets = DATA.pictures.sheets.map((sheet) => ({ ...sheet, image: null }));

function setUpItems() {
  for (const [key, [text]] of Object.entries(SORTS)) $("item-sort").append(option(key, text));
  $("item-filters").addEventListener("input", () => { listing.shown = STEP; drawItems(); });
  $("item-filters").addEventListener("submit", (event) => event.preventDefault());
  $("item-more").addEventListener("click", () => {
    const first = listing.shown;
    listing.shown += STEP;
    drawItems();
    $("item-list").children[first]?.querySelector("summary").focus();
  });
  const { n_items: shown, n_all: all } = DATA.pictures;
  if (!all) $("item-pictures").textContent = "This run keeps no images: memdet report RUN --format html --images 2 --out FILE generates them where the model can be loaded.";
  else if (shown < all) $("item-pictures").textContent = `Images are shown of ${shown} of ${all} items: the most disputed ones, and those ranked most wrongly, of each set and label.`;
}

/** New sample set: strata and detectors to choose from. */
function resetItems(set, detector) {
  put($("item-stratum"), option("", "all"), ...set.strata.map((name, index) => option(index, name)));
  put($("item-detector"), ...set.usable.map((label) => option(label)));
  $("item-detector").value = set.usable.includes(detector) ? detector : set.usable[set.usable.length - 1] || "";
  listing.shown = STEP;
  drawItems();
}

function drawItems() {
  const set = state.set, words = $("item-text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const label = $("item-label").value, stratum = $("item-stratum").value, detector = $("item-detector").value;
  const ranks = detector ? percentiles(scoresOf(set, detector)) : [], { items } = set;
  const kept = items.id.map((id, index) => itemOf(set, index, ranks)).filter((item) => {
    const text = `${item.id} ${promptOf(set, item.index) ?? ""} ${set.strata[items.stratum[item.index]]}`.toLowerCase();
    return words.every((word) => text.includes(word)) && (label === "" || item.label === Number(label)) && (stratum === "" || items.stratum[item.index] === Number(stratum));
  });
  const key = SORTS[$("item-sort").value][1];
  kept.sort((a, b) => { const one = key(a), other = key(b); return one < other ? -1 : one > other ? 1 : a.index - b.index; });
  listing.order = kept;
  const shown = kept.slice(0, listing.shown);
  put($("item-list"), ...shown.map((item) => itemRow(set, item, detector)));
  $("item-count").textContent = `${plural(kept.length, "item")} of ${set.n.toLocaleString("en")}.`;
  $("item-more").hidden = shown.length === kept.length;
  $("item-more").textContent = `Show ${Math.min(STEP, kept.length - shown.length)} more`;
}

/** An item as lists have it. */
function itemOf(set, index, ranks) {
  const { items } = set;
  return { id: items.id[index], index, label: items.label[index], own: ranks[index] ?? 0, disagreement: items.disagreement?.[index], rank: items.rank?.[index], extraction: items.extraction[index] };
}

/** An item in a list; `where` names its set where a list holds several. */
function itemRow(set, item, detector, where) {
  const { items } = set, { index } = item, prompt = promptOf(set, index), entry = DATA.pictures.entries[items.picture?.[index] ?? -1];
  const details = h("details", null, h("summary", null,
    entry ? h("span", { class: "thumbs" }, [...(entry.training || []).slice(0, 1), ...(entry.own || entry.generated || []).slice(0, 2)].filter(Boolean).map((tile) => picture(tile))) : null,
    h("span", { class: "what" }, h("span", { class: "prompt" }, prompt ?? item.id), h("span", { class: "meta" },
      h("span", { class: item.label ? "tag yes" : "tag no" }, standing(set, index)), where ? h("span", null, where) : null,
      prompt === null || prompt === item.id ? null : h("span", null, item.id), h("span", null, set.strata[items.stratum[index]]),
      item.extraction === null || unreturned(set, index) ? null : h("span", null, `${percent(item.extraction)} copied`),
      item.disagreement === undefined ? null : h("span", null, `disagreement ${Math.round(item.disagreement)}`),
      detector ? h("span", null, `rank ${Math.round(item.own)} by ${detector}`) : null))));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(itemBody(set, item, entry)); });
  return h("li", { "data-item": item.id }, details);
}

/** Whether an item has the label memorized for its copies in the training set, while no generation was measured to copy it. */
const unreturned = (set, index) => set.items.label[index] === 1 && set.items.copies[index] > 0 && set.items.extraction[index] === 0;

/** What an item is, in the words of a card: its label, or where that says more than was measured, what is known. */
function standing(set, index) {
  const copies = set.items.copies[index];
  if (unreturned(set, index)) return `planted ${copies === 1 ? "once" : `${copies} times`}, not given back`;
  return set.items.label[index] ? "memorized" : "not memorized";
}

function itemBody(set, item, entry) {
  const { items } = set, { index } = item, copies = items.copies[index], variants = items.variants[index];
  const facts = [["id", item.id], ["label", `${item.label ? "memorized" : "not memorized"}${unreturned(set, index) ? ": planted, though no generation gives it back" : ""}`], ["stratum", set.strata[items.stratum[index]]]];
  if (copies !== null) facts.push(["training set", copies === 0 ? "never trained" : `${plural(variants ?? 1, "image")}, ${variants > 1 ? "each " : ""}${copies === 1 ? "once" : `${copies} times`}`]);
  if (item.extraction !== null) facts.push(["measured", `${percent(item.extraction)} of its generations copy training data`]);
  if (item.rank !== undefined) facts.push(["mean rank", `${Math.round(item.rank)}, disagreement ${Math.round(item.disagreement)}`]);
  const rows = set.usable.map((label) => ({ label, score: scoresOf(set, label)[index], rank: ranksOf(set, label)[index], control: set.row[label].control }))
    .sort((a, b) => a.control - b.control || b.rank - a.rank);
  return h("div", { class: "item-body" },
    h("div", null, entry ? pictures(set, entry, copies) : null, h("dl", null, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]))),
    h("div", null, table("Its score and percentile rank under every detector", ["Detector", numeric("Score"), numeric("Rank"), "Rank, drawn"],
      rows.map(({ label, score, rank, control }) => [named(label + (control ? " *" : "")), significant(score), String(Math.round(rank)), intervalBar([rank, null, null], 0, 100)]))));
}

const ranked = new Map();
function ranksOf(set, label) {
  const key = `${set.run}/${set.id}/${label}`;
  if (!ranked.has(key)) ranked.set(key, percentiles(scoresOf(set, label)));
  return ranked.get(key);
}

function pictures(set, entry, copies) {
  const group = (tiles, caption) => (tiles || []).map((tile, place) => h("figure", null, tile && picture(tile, caption(place)),
    h("figcaption", null, caption(place) + (tile ? "" : " could not be drawn: its pixels are not finite numbers"))));
  const trained = (place) => (copies === 0 ? "its image, never trained on" : (entry.training || []).length > 1 ? `training image ${place + 1}` : "training image");
  return h("div", { class: "pictures" }, group(entry.own, () => "the item"), group(entry.training, trained), group(entry.generated, (place) => `generation, seed ${place}`));
}

/** One tile of a sheet; with a caption it is an image of its own, without one it is decoration. */
function picture([number, tile], caption) {
  const sheet = sheets[number], { width, height, columns } = sheet;
  const canvas = h("canvas", { width, height, ...(caption ? { role: "img", "aria-label": caption } : { "aria-hidden": "true" }) });
  if (!sheet.image) {
    sheet.image = new Image();
    sheet.image.src = sheet.src;
  }
  sheet.image.decode().then(() => {
    canvas.getContext("2d").drawImage(sheet.image, (tile % columns) * width, Math.floor(tile / columns) * height, width, height, 0, 0, width, height);
    canvas.dataset.drawn = "";
  }, () => {});
  return canvas;
}

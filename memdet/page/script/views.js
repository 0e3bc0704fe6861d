// Which view is shown, and the address that says so: ?set=, ?method=, ?budget= and weights of questions, ?weights=.
const FRONT = DATA.front;
const asked_for = { set: null, method: null, budget: null, weights: null };

/** The address of a view: what is named changes, and null takes it out. */
function address(changes) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...asked_for, ...changes })) if (value !== null && value !== "") query.set(name, String(value));
  const text = query.toString();
  return text ? `?${text}` : location.pathname.split("/").pop() || "?";
}

/** A link to a view. */
function viewLink(changes, ...children) {
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button > 0) return;
    event.preventDefault();
    closeTip(false);
    go(changes);
  };
  return h("a", { href: address(changes), onclick: open }, ...children);
}
const methodLink = (label) => viewLink({ set: null, method: label }, named(label));
const setLink = (name, text) => viewLink({ set: name, method: null }, text || name);

function readAddress() {
  const query = new URLSearchParams(location.search);
  for (const name of Object.keys(asked_for)) asked_for[name] = query.get(name);
}

/** Show another view and write it down; `quietly` does so without a step back. */
function go(changes, quietly) {
  const before = { ...asked_for };
  Object.assign(asked_for, changes);
  try {
    history[quietly ? "replaceState" : "pushState"](null, "", address({}));
  } catch { /* a page that may not name its views */ }
  if (!quietly || before.set !== asked_for.set || before.method !== asked_for.method) restore(!quietly);
}

/** Put the page into the state of the address. */
function restore(moved) {
  const set = DATA.sets.findIndex((one) => one.name === asked_for.set), known = asked_for.method !== null && asked_for.method in DATA.detectors;
  const name = set >= 0 && FRONT ? "set" : known && set < 0 ? "method" : "home";
  document.body.dataset.view = name;
  $("view-home").hidden = name !== "home";
  $("view-method").hidden = name !== "method";
  $("view-set").hidden = name === "method" || (name === "home" && FRONT !== null);
  $("to-home").hidden = name === "home";
  const missing = [asked_for.set !== null && set < 0 ? `sample set ${asked_for.set}` : null, asked_for.method !== null && !known ? `method ${asked_for.method}` : null].filter(Boolean);
  $("missing").hidden = !missing.length;
  $("missing").textContent = missing.length ? `This page has no ${missing.join(" and no ")}.` : "";
  $("to-method").value = name === "method" ? asked_for.method : "";
  $("to-set").value = name === "set" ? String(set) : "";
  if (name === "method") drawMethod(asked_for.method);
  else if (!$("view-set").hidden) chooseSet(set >= 0 ? set : firstSet(), known ? asked_for.method : null);
  document.title = name === "home" ? TITLE : `${name === "set" ? asked_for.set : asked_for.method} \u2013 ${TITLE}`;
  if (!moved) return;
  window.scrollTo(0, 0);
  const head = document.querySelector(name === "method" ? "#method-title" : name === "set" ? "#leaderboard-title" : "h1");
  head.focus({ preventScroll: true });
}
const TITLE = document.title;

function setUpViews() {
  $("to-method").append(option("", "a method"), ...methodLabels().map((label) => option(label)));
  $("to-set").append(option("", "a sample set"), ...NAMES.map((name, index) => option(index, name)));
  $("to-method").addEventListener("change", () => go({ set: null, method: $("to-method").value || null }));
  $("to-set").addEventListener("change", () => go({ method: null, set: $("to-set").value === "" ? null : NAMES[Number($("to-set").value)] }));
  $("to-home").addEventListener("click", (event) => { event.preventDefault(); go({ set: null, method: null }); });
  window.addEventListener("popstate", () => { readAddress(); readControls(); restore(true); });
}

/** Labels of the front page's rows first, then all others by name. */
function methodLabels() {
  const first = FRONT ? FRONT.rows.map((row) => row.label) : [];
  const ran = Object.keys(DATA.detectors).filter((label) => DATA.sets.some((set) => label in set.row));
  return [...first, ...ran.filter((label) => !first.includes(label)).sort()];
}

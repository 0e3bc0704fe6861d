// Cards that say more of a mark, a cell or a word: by mouse, by touch and by keyboard. A click pins one, Escape closes it.
const TIPS = new WeakMap();
const tipState = { of: null, pinned: false };

/** Give an element a card. `make` returns its parts; the first is its heading. */
function tip(element, make) {
  TIPS.set(element, make);
  element.setAttribute("data-tip", "");
  if (!element.hasAttribute("tabindex") && !element.matches("a, button, input, select, summary")) element.setAttribute("tabindex", "-1");
  return element;
}

/** Let the cards of a group be one stop of the tab key: arrows go from one to the next. */
function tipGroup(group) {
  const first = group.querySelector("[data-tip]");
  if (first) first.setAttribute("tabindex", "0");
  group.setAttribute("data-tips", "");
  return group;
}

function tipped(target) {
  return target instanceof Element ? target.closest("[data-tip]") : null;
}

function openTip(element, pinned) {
  const box = $("tip"), [head, ...parts] = TIPS.get(element)();
  if (tipState.of && tipState.of !== element) tipState.of.removeAttribute("aria-describedby");
  Object.assign(tipState, { of: element, pinned });
  put(box, h("p", { class: "tip-head" }, head), parts.map((part) => (part instanceof Node ? part : h("p", null, part))),
    h("button", { type: "button", class: "tip-close", "aria-label": "Close", onclick: () => closeTip(true) }, "\u00d7"));
  box.classList.toggle("pinned", pinned);
  box.hidden = false;
  element.setAttribute("aria-describedby", "tip");
  placeTip(element, box);
}

/** Beside its element and inside the window; on a narrow screen the style puts it at the lower edge. */
function placeTip(element, box) {
  const at = element.getBoundingClientRect(), width = box.offsetWidth, height = box.offsetHeight;
  const left = Math.max(8, Math.min(at.left + at.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
  const above = at.top - height - 8, below = at.bottom + 8;
  box.style.left = `${left}px`;
  box.style.top = `${below + height <= window.innerHeight || above < 0 ? Math.max(8, Math.min(below, window.innerHeight - height - 8)) : above}px`;
}

function closeTip(back) {
  const { of } = tipState;
  $("tip").hidden = true;
  Object.assign(tipState, { of: null, pinned: false });
  if (of) {
    of.removeAttribute("aria-describedby");
    if (back && of.isConnected) of.focus({ preventScroll: true });
  }
}

/** The next card of a group in the way of an arrow key; in a table up and down stay in the column. */
function neighbour(element, key) {
  const group = element.closest("[data-tips]");
  if (!group) return null;
  const cell = element.closest("td, th");
  if (cell && (key === "ArrowUp" || key === "ArrowDown")) {
    const rows = [...cell.closest("table").rows], step = key === "ArrowUp" ? -1 : 1;
    for (let at = rows.indexOf(cell.parentElement) + step; at >= 0 && at < rows.length; at += step) {
      const other = rows[at].parentElement === cell.parentElement.parentElement ? rows[at].children[cell.cellIndex] : rows[at];
      const found = other && (other.matches("[data-tip]") ? other : other.querySelector("[data-tip]"));
      if (found) return found;
    }
    return null;
  }
  const all = [...(cell ? cell.parentElement : group).querySelectorAll("[data-tip]")], step = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  return all[all.indexOf(element) + step] || null;
}

function onTipKey(event) {
  if (event.key === "Escape" && tipState.of) { closeTip(tipState.pinned); return; }
  const element = tipped(event.target);
  if (!element || event.ctrlKey || event.altKey || event.metaKey) return;
  if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) {
    const next = neighbour(element, event.key);
    if (!next) return;
    event.preventDefault();
    element.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  } else if ((event.key === "Enter" || event.key === " ") && !element.matches("a, button, summary")) {
    event.preventDefault();
    openTip(element, true);
    $("tip").querySelector("a, button").focus({ preventScroll: true });
  }
}

function setUpTips() {
  document.addEventListener("pointerover", (event) => {
    const element = tipped(event.target);
    if (event.pointerType === "mouse" && element && !tipState.pinned && element !== tipState.of) openTip(element, false);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType === "mouse" && tipState.of && !tipState.pinned && tipped(event.target) === tipState.of && tipped(event.relatedTarget) !== tipState.of) closeTip(false);
  });
  document.addEventListener("focusin", (event) => {
    const element = tipped(event.target);
    if (element && element !== tipState.of && element.matches(":focus-visible")) openTip(element, false);
    else if (!element && tipState.of && !$("tip").contains(event.target)) closeTip(false);
  });
  document.addEventListener("click", (event) => {
    if ($("tip").contains(event.target)) return;
    const element = tipped(event.target);
    if (!element) { if (tipState.of) closeTip(false); return; }
    if (element.matches("a, button, summary")) return;
    if (tipState.of === element && tipState.pinned) closeTip(false);
    else openTip(element, true);
  });
  document.addEventListener("keydown", onTipKey);
  window.addEventListener("scroll", () => { if (tipState.of && !tipState.pinned) closeTip(false); }, { passive: true });
}

// Every page: how times are shown, colours, keys, copying, narrowing lists of attributes.
import { all, el, one, say } from "./dom.js";
import { filter } from "./exchange.js";
import { MODES, lettersCount, showAs, shownAs, stored, tellTimes, tellZone } from "./chosen.js";

showAs(stored.get("times"));

function tellAll() {
  tellTimes();
  one("#times").textContent = shownAs();
}

function nextMode() {
  const mode = MODES[(MODES.indexOf(shownAs()) + 1) % MODES.length];
  showAs(mode);
  stored.set("times", mode);
  tellAll();
  if (tellZone() && one(".spark, .chart")) location.reload();
  say({ UTC: "times in UTC", local: `times in your zone, ${Intl.DateTimeFormat().resolvedOptions().timeZone}`, ago: "times as how long ago" }[mode]);
}

function nextTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = shown === "dark" ? "light" : "dark";
  stored.set("theme", root.dataset.theme);
  document.dispatchEvent(new CustomEvent("recoloured"));
}

const KEYS = [
  ["?", "these keys"], ["/", "search"], ["j k", "next, previous row"], ["Enter", "open it"], ["g then a letter", "go to a page"],
  ["t", "times: UTC, local, ago"], ["Esc", "close, leave the search"],
];
const TIMELINE_KEYS = [
  ["→ ←", "expand, collapse or go to the parent"], ["e", "next error"], ["n N", "next, previous match"], ["[ ]", "collapse all, expand all"], ["h", "folded spans"], ["o", "only this step and what is below it"],
  ["z", "zoom to the row"], ["+ − 0", "zoom in, out, whole time"],
];

function help() {
  const list = el("dl");
  const told = one("#timeline") ? [...KEYS, ...TIMELINE_KEYS] : KEYS;
  const pages = all(".top nav a").map((link) => [`g ${link.dataset.key}`, link.textContent]);
  for (const [keys, what] of [...told, ...pages]) {
    const term = el("dt");
    keys.split(" ").forEach((key, at) => term.append(at ? " " : "", /^(then|a|letter)$/.test(key) ? key : el("kbd", {}, key)));
    list.append(term, el("dd", {}, what));
  }
  const letters = el("input", { type: "checkbox", checked: lettersCount() });
  letters.onchange = () => stored.set("letters", letters.checked ? "on" : "off");
  const close = el("button", { type: "button" }, "Close");
  const dialog = el("dialog", { "aria-labelledby": "keys-title" }, el("h2", { id: "keys-title" }, "Keys"), list, el("p", {}, el("label", { class: "check" }, letters, " Keys of one letter")), close);
  close.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
}

function moveRow(step) {
  const rows = all("main tr[data-row], main [data-row-item]").filter((row) => one("a", row));
  if (!rows.length) return false;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + step))];
  one("a", next).focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

let waitsForPage = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
  const field = event.target.closest?.("input, select, textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (!lettersCount()) return;
  if (waitsForPage) {
    waitsForPage = false;
    const to = all(".top nav a").find((link) => link.dataset.key === event.key);
    if (to) { event.preventDefault(); to.click(); return; }
  }
  const handled = {
    "?": help,
    "/": () => one("[data-focus-key='/']")?.focus(),
    t: nextMode,
    g: () => { waitsForPage = true; setTimeout(() => { waitsForPage = false; }, 1500); },
    j: () => !event.defaultPrevented && moveRow(1),
    k: () => !event.defaultPrevented && moveRow(-1),
  }[event.key];
  if (handled && !event.defaultPrevented) {
    handled();
    event.preventDefault();
  }
});

/** Copy where there is no clipboard: a page has one by TLS and on its own machine alone. */
function copyOut(text) {
  const focused = document.activeElement;
  const field = el("textarea", { class: "unseen", value: text });
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  if (!isCopied) throw new Error("copying is not allowed");
}

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  try {
    await (navigator.clipboard?.writeText(copy.dataset.copy) ?? copyOut(copy.dataset.copy));
    say("copied");
  } catch {
    say("the browser does not allow copying here");
  }
});
document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-filter]");
  if (!field) return;
  filter(field);
});
// An address without empty filters.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "get") return;
  const empty = all("input, select", event.target).filter((field) => !field.value && !field.disabled);
  for (const field of empty) field.disabled = true;
  // Whoever comes back finds them as they were.
  addEventListener("pageshow", () => { for (const field of empty) field.disabled = false; }, { once: true });
});

// Where there is no room for the names of all pages that of this one is in sight.
one(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
one("#times").onclick = nextMode;
one("#theme").onclick = nextTheme;
one("#keys").onclick = help;
tellAll();
tellZone();
setInterval(() => { if (!document.hidden) tellTimes(); }, 10000);

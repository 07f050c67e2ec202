// Every page: how times are shown, colours, keys, copying, narrowing lists of attributes.
import { all, el, one, say } from "./dom.js";
import { ago } from "./text.js";

const MODES = ["UTC", "local", "ago"];
const stored = {
  get(key) { try { return localStorage.getItem(`spantree.${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`spantree.${key}`, value); } catch { /* not kept, then */ } },
};
let mode = MODES.includes(stored.get("times")) ? stored.get("times") : "UTC";

function local(moment, short) {
  const part = (number, digits = 2) => String(number).padStart(digits, "0");
  const minutes = -moment.getTimezoneOffset();
  const zone = `${minutes < 0 ? "-" : "+"}${part(Math.floor(Math.abs(minutes) / 60))}:${part(Math.abs(minutes) % 60)}`;
  return `${moment.getFullYear()}-${part(moment.getMonth() + 1)}-${part(moment.getDate())} ${part(moment.getHours())}:${part(moment.getMinutes())}:${part(moment.getSeconds())}${short ? "" : `.${part(moment.getMilliseconds(), 3)}`} ${zone}`;
}

function tellTimes() {
  const now = Date.now();
  for (const time of all("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const told = time.dataset.fixed === "ago" || mode === "ago" ? ago(moment.getTime(), now) : mode === "local" ? local(moment, "short" in time.dataset) : time.dataset.utc;
    if (told && time.textContent !== told) time.textContent = told;
  }
  const button = one("#times");
  button.textContent = mode;
}

function nextMode() {
  mode = MODES[(MODES.indexOf(mode) + 1) % MODES.length];
  stored.set("times", mode);
  tellTimes();
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
  ["→ ←", "expand, collapse or go to the parent"], ["e", "next error"], ["n N", "next, previous match"], ["[ ]", "collapse all, expand all"], ["h", "folded spans"],
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
  const close = el("button", { type: "button" }, "Close");
  const dialog = el("dialog", { "aria-labelledby": "keys-title" }, el("h2", { id: "keys-title" }, "Keys"), list, close);
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

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  try {
    await navigator.clipboard.writeText(copy.dataset.copy);
    say("copied");
  } catch {
    say("the browser does not allow copying here");
  }
});
document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-filter]");
  if (!field) return;
  const wanted = field.value.toLowerCase();
  for (const entry of all(field.dataset.filter, field.closest("section"))) entry.hidden = !entry.textContent.toLowerCase().includes(wanted);
});
// An address without empty filters.
document.addEventListener("submit", (event) => {
  for (const field of all("input, select", event.target)) if (!field.value) field.disabled = true;
});
addEventListener("pageshow", () => { for (const field of all("form :disabled")) field.disabled = false; });

one("#times").onclick = nextMode;
one("#theme").onclick = nextTheme;
one("#keys").onclick = help;
document.addEventListener("exchanged", tellTimes);
tellTimes();
setInterval(() => { if (!document.hidden) tellTimes(); }, 10000);

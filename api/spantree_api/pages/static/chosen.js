// What somebody has chosen of how pages are: how moments are told (in UTC, in the zone of the browser, or as how long
// ago), and whether keys of one letter do something. A browser keeps it, where it may.
import { ago } from "./text.js";

export const stored = {
  get(key) { try { return localStorage.getItem(`spantree.${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`spantree.${key}`, value); } catch { /* not kept, then */ } },
};

/** Whether keys of one letter do something: for who speaks or strikes keys by mistake they are in the way. */
export const lettersCount = () => stored.get("letters") !== "off";

export const MODES = ["UTC", "local", "ago"];
let mode = "UTC";

export const shownAs = () => mode;
export function showAs(wanted) { if (MODES.includes(wanted)) mode = wanted; }

/** Have the server tell days of the zone that times are shown in (zones.py). Returns whether it did of another one. */
export function tellZone() {
  const zone = mode === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : "";
  const told = /(?:^|; )spantree_zone=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  if (zone === told) return false;
  document.cookie = `spantree_zone=${zone}; path=${new URL("../..", import.meta.url).pathname}; max-age=${zone ? 31536000 : 0}; samesite=lax`;
  return true;
}

function local(moment, short) {
  const part = (number, digits = 2) => String(number).padStart(digits, "0");
  const minutes = -moment.getTimezoneOffset();
  const zone = `${minutes < 0 ? "-" : "+"}${part(Math.floor(Math.abs(minutes) / 60))}:${part(Math.abs(minutes) % 60)}`;
  return `${moment.getFullYear()}-${part(moment.getMonth() + 1)}-${part(moment.getDate())} ${part(moment.getHours())}:${part(moment.getMinutes())}:${part(moment.getSeconds())}${short ? "" : `.${part(moment.getMilliseconds(), 3)}`} ${zone}`;
}

/** Tell the moments within `root` as they are to be shown. */
export function tellTimes(root = document) {
  const now = Date.now();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const told = time.dataset.fixed === "ago" || mode === "ago" ? ago(moment.getTime(), now) : mode === "local" ? local(moment, "short" in time.dataset) : time.dataset.utc;
    if (told && time.textContent !== told) time.textContent = told;
  }
}

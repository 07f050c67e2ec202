// What changed: by server-sent events, and by asking again where they do not come. Nothing while nobody looks.
import { gathered } from "./dom.js";
import { leaveSeat, takeSeat } from "./seats.js";

const AGAIN_MS = 4000;
// At most, where asking fails again and again.
const SELDOM_MS = 60000;
const ANEW_MS = 30000;
// What time alone changes, nobody tells: that something is stuck or lost, how long ago it was.
const TIME_MS = 60000;

/**
 * `address` tells from when on (`after`): what changed since the page was made is told. Later the page is looked at anew.
 * `look()` reads and shows what is by now, `every` ms after something changed and never twice at once; where it throws,
 * the page is not up to date. `state(text)` is told how it goes: "live", or what is not as it should be.
 * Returns a function that ends it.
 */
export function follow(address, look, every, state) {
  let source = null;
  let timer = null;
  let anew = null;
  let failures = 0;
  let refused = 0;
  let ended = false;
  let how = "";

  const changed = gathered(async () => {
    try {
      await look();
      refused = 0;
      state(how);
    } catch (error) {
      refused += 1;
      state(`not up to date: ${error.message}`);
    }
  }, every);
  function tell(text) {
    how = text;
    if (!refused) state(text);
  }
  function poll() {
    clearTimeout(timer);
    timer = setTimeout(() => { changed(); poll(); }, Math.min(SELDOM_MS, AGAIN_MS * 2 ** refused));
  }
  function open() {
    clearTimeout(anew);
    if (ended || source || document.hidden) return;
    if (!takeSeat()) { without(); return; }
    const from = new URL(address, location.href);
    if (failures) from.searchParams.delete("after");
    source = new EventSource(from);
    source.onopen = () => {
      clearTimeout(timer);
      timer = null;
      tell("live");
      // What came while nobody listened.
      if (failures) changed();
      failures = 0;
    };
    for (const kind of ["execution", "node", "reload"]) source.addEventListener(kind, changed);
    source.onerror = () => {
      failures += 1;
      if (source?.readyState === EventSource.CLOSED || failures > 2) {
        close();
        without();
      } else tell("reconnecting");
    };
  }
  function without() {
    failures = Math.max(failures, 1);
    tell("asking every few seconds");
    poll();
    anew = setTimeout(open, ANEW_MS);
  }
  function close() {
    if (source) leaveSeat();
    source?.close();
    source = null;
  }
  function seen() {
    if (ended) return;
    if (document.hidden) {
      close();
      clearTimeout(timer);
      timer = null;
      failures = Math.max(failures, 1);
    } else open();
  }
  const passes = setInterval(() => { if (!document.hidden) changed(); }, TIME_MS);
  document.addEventListener("visibilitychange", seen);
  addEventListener("pagehide", () => { close(); failures = Math.max(failures, 1); });
  addEventListener("pageshow", (event) => { if (event.persisted) seen(); });
  open();
  return () => {
    ended = true;
    close();
    clearTimeout(timer);
    clearInterval(passes);
    document.removeEventListener("visibilitychange", seen);
  };
}

// What changed: by server-sent events, and by asking again where they do not come. Nothing while nobody looks.

const AGAIN_MS = 4000;
// What time alone changes, nobody tells: that something is stuck or lost, how long ago it was.
const TIME_MS = 60000;

/**
 * `address` tells from when on (`after`): what changed since the page was made is told. Later the page is looked at anew.
 * Call `changed(kind)` when the stream tells of something, and `state(text)` when how it goes changes.
 * Returns a function that ends it.
 */
export function follow(address, changed, state = () => {}) {
  let source = null;
  let timer = null;
  let failures = 0;
  let ended = false;

  function poll() {
    clearInterval(timer);
    timer = setInterval(() => changed("poll"), AGAIN_MS);
    state("asking every few seconds");
  }
  function open() {
    if (ended || source || document.hidden) return;
    const from = new URL(address, location.href);
    if (failures) from.searchParams.delete("after");
    source = new EventSource(from);
    source.onopen = () => {
      clearInterval(timer);
      timer = null;
      state("live");
      // What came while nobody listened.
      if (failures) changed("reload");
      failures = 0;
    };
    for (const kind of ["execution", "node", "reload"]) source.addEventListener(kind, (event) => changed(kind, event));
    source.onerror = () => {
      failures += 1;
      if (source?.readyState === EventSource.CLOSED || failures > 2) {
        close();
        poll();
        setTimeout(open, 30000);
      } else state("reconnecting");
    };
  }
  function close() {
    source?.close();
    source = null;
  }
  function seen() {
    if (ended) return;
    if (document.hidden) {
      close();
      clearInterval(timer);
      timer = null;
      failures = Math.max(failures, 1);
    } else open();
  }
  const passes = setInterval(() => { if (!document.hidden) changed("time"); }, TIME_MS);
  document.addEventListener("visibilitychange", seen);
  addEventListener("pagehide", () => { close(); failures = Math.max(failures, 1); });
  addEventListener("pageshow", (event) => { if (event.persisted) seen(); });
  open();
  return () => {
    ended = true;
    close();
    clearInterval(timer);
    clearInterval(passes);
    document.removeEventListener("visibilitychange", seen);
  };
}

// One execution: the node's panel beside it, and following while it runs.
import { all, el, one, own, page } from "./dom.js";
import { part, tellPart } from "./address.js";
import { exchange } from "./exchange.js";
import { visible } from "./text.js";

const execution = one("#execution");
const panel = one("#panel");
const id = execution.dataset.id;
let timeline = null;
let loading = null;
// What had the focus when the panel came.
let opener = null;

/** Show a node beside the view; `address`: "push" or "replace" what the browser goes back to, or null. */
async function show(node, address = "push") {
  loading?.abort();
  loading = new AbortController();
  if (panel.hidden) opener = document.activeElement;
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  if (address) tellPart("node", node, address);
  try {
    const found = one("article.node", await page(own(`/executions/${id}/nodes/${encodeURIComponent(node)}?panel=1`), loading.signal));
    panel.replaceChildren(found);
    panel.scrollTop = 0;
    timeline?.choose(node, Number(found.dataset.sequence));
    one("#panel-said").textContent = `beside: ${one("h2", found).textContent}, ${one(".status", found).lastChild.textContent}`;
  } catch (error) {
    if (error.name === "AbortError") return;
    panel.replaceChildren(el("p", { class: "note" }, visible(error.message)));
  } finally {
    panel.removeAttribute("aria-busy");
  }
}

/** What is told of the node that is shown, as it is by now. Returns whether it could be put there. */
async function renew() {
  const current = one("article.node", panel);
  if (!current) return true;
  const found = one("article.node", await page(own(`/executions/${id}/nodes/${encodeURIComponent(current.dataset.shown)}?panel=1`)));
  const { scrollTop } = panel;
  const isShown = !current.isConnected || exchange(current, found);
  panel.scrollTop = scrollTop;
  return isShown;
}

function close() {
  const isIn = panel.contains(document.activeElement);
  panel.hidden = true;
  panel.replaceChildren();
  one("#panel-said").textContent = "";
  tellPart("node", null, "push");
  timeline?.choose(null);
  if (isIn) (opener?.isConnected && opener !== document.body ? opener : one("#rows"))?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) { close(); return; }
  const alone = event.target.closest("[data-alone]");
  if (alone && timeline && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    timeline.showAlone(alone.dataset.alone);
    return;
  }
  const link = event.target.closest("a[data-node]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  for (const row of all("tr.chosen")) row.classList.remove("chosen");
  link.closest("tr")?.classList.add("chosen");
  show(link.dataset.node);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !panel.hidden && !event.target.closest("input, dialog")) close();
});
addEventListener("popstate", () => {
  const node = part("node");
  if (node) show(node, null);
  else { panel.hidden = true; panel.replaceChildren(); timeline?.choose(null); }
});

const place = one("#timeline");
if (place) {
  const { Timeline } = await import("./timeline.js");
  timeline = new Timeline(place, id, show);
  await timeline.start();
}
const raw = one("#raw");
if (raw) import("./raw.js").then(({ showRaw }) => showRaw(raw));
const wanted = part("node");
if (wanted) show(wanted, null);

if (execution.dataset.stream) {
  const { follow } = await import("./live.js");
  const stop = follow(execution.dataset.stream, async () => {
    const found = await page(location.href);
    const newer = one("#execution", found);
    document.title = found.title;
    const shown = [exchange(one("#head"), one("#head", newer)), exchange(one(".tabs"), one(".tabs", newer))];
    if (timeline) await timeline.refresh();
    else if (!raw) shown.push(exchange(one("#view"), one("#view", newer)));
    shown.push(await renew());
    const isOpen = newer.dataset.open === "1";
    execution.dataset.open = isOpen ? "1" : "0";
    if (!isOpen) timeline?.ended();
    // Where a text is selected, what is told in its place comes later.
    if (!isOpen && shown.every(Boolean)) stop();
  }, 700, (text) => { one("#live-state").textContent = text === "live" ? "" : visible(text); });
}

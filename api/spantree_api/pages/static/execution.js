// One execution: the node's panel beside it, and following while it runs.
import { all, el, exchange, gathered, json, one, own, page } from "./dom.js";
import { follow } from "./live.js";
import { visible } from "./text.js";

const execution = one("#execution");
const panel = one("#panel");
const id = execution.dataset.id;
let timeline = null;
let loading = null;

export async function show(node, { push = true, focus = false } = {}) {
  loading?.abort();
  loading = new AbortController();
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  if (push) remember(node);
  try {
    const found = one("article.node", await page(own(`/executions/${id}/nodes/${encodeURIComponent(node)}?panel=1`), loading.signal));
    panel.replaceChildren(found);
    panel.scrollTop = 0;
    document.dispatchEvent(new CustomEvent("exchanged"));
    timeline?.choose(node, Number(found.dataset.sequence));
    if (focus) one("h2", panel)?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error.name === "AbortError") return;
    panel.replaceChildren(el("p", { class: "note" }, visible(error.message)));
  } finally {
    panel.removeAttribute("aria-busy");
  }
}

/** What is told of the node that is shown, as it is by now. */
async function renew() {
  const current = one("article.node", panel);
  if (!current) return;
  const found = one("article.node", await page(own(`/executions/${id}/nodes/${encodeURIComponent(current.dataset.shown)}?panel=1`)));
  const { scrollTop } = panel;
  if (current.isConnected) exchange(current, found);
  panel.scrollTop = scrollTop;
}

function remember(node) {
  const address = new URL(location.href);
  if (node) address.searchParams.set("node", node);
  else address.searchParams.delete("node");
  if (address.href !== location.href) history.pushState(null, "", address);
}

function close() {
  panel.hidden = true;
  panel.replaceChildren();
  remember(null);
  timeline?.choose(null);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) { close(); return; }
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
  const node = new URL(location.href).searchParams.get("node");
  if (node) show(node, { push: false });
  else { panel.hidden = true; panel.replaceChildren(); timeline?.choose(null); }
});

const place = one("#timeline");
if (place) {
  const { Timeline } = await import("./timeline.js");
  timeline = new Timeline(place, id, (node) => show(node));
  await timeline.start();
}
const raw = one("#raw");
if (raw) {
  try {
    const text = JSON.stringify(await json(raw.dataset.from), null, 2);
    raw.textContent = visible(text.slice(0, 500_000));
    if (text.length > 500_000) raw.after(el("p", { class: "cut" }, "Cut: download it to see all of it."));
  } catch (error) {
    raw.textContent = visible(error.message);
  }
}
const wanted = new URL(location.href).searchParams.get("node");
if (wanted) show(wanted, { push: false });

if (execution.dataset.stream) {
  const stop = follow(execution.dataset.stream, gathered(async () => {
    try {
      const newer = one("#execution", await page(location.href));
      one("#live-state").textContent = "";
      exchange(one("#head"), one("#head", newer));
      exchange(one(".tabs"), one(".tabs", newer));
      if (timeline) await timeline.refresh();
      else if (!raw) exchange(one("#view"), one("#view", newer));
      await renew();
      if (newer.dataset.open !== "1") {
        execution.dataset.open = "0";
        timeline?.ended();
        stop();
      }
    } catch (error) {
      one("#live-state").textContent = `not up to date: ${visible(error.message)}`;
    }
  }, 700));
}

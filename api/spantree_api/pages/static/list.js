// The list follows: rows change where they are; new ones come on top, or wait behind a button while somebody reads.
import { all, el, gathered, one, page } from "./dom.js";
import { follow } from "./live.js";

const list = one("#list");
const news = one("#news");
const button = one("#show-news");
let newest = null;

const rowsOf = (within) => new Map(all("tr[data-row]", within).map((row) => [row.dataset.row, row]));
const isRead = () => scrollY > 80 || list.contains(document.activeElement) || !getSelection().isCollapsed;

function put(found) {
  const body = one("tbody", list);
  if (!body) {
    list.replaceChildren(...found.childNodes);
    return;
  }
  const there = rowsOf(list);
  const coming = [];
  for (const [id, row] of rowsOf(found)) {
    const current = there.get(id);
    if (!current) coming.push(row);
    else if (!current.isEqualNode(row)) exchangeRow(current, row);
  }
  const first = body.firstElementChild;
  const above = coming.filter((row) => !first || isNewer(row, first));
  if (!above.length) return tell(0);
  if (isRead()) return tell(above.length);
  for (const row of above) row.classList.add("fresh");
  body.prepend(...above);
  tell(0);
}

function exchangeRow(current, row) {
  // The link keeps its focus: only cells that differ are exchanged.
  [...row.cells].forEach((cell, at) => {
    const old = current.cells[at];
    if (!plain(old).isEqualNode(plain(cell))) old.replaceChildren(...cell.childNodes);
  });
}

// Times are told anew by frame.js all the time and do not count.
function plain(cell) {
  const copy = cell.cloneNode(true);
  for (const time of all("time", copy)) time.textContent = "";
  return copy;
}

const startOf = (row) => one("time", row)?.dateTime ?? "";
const isNewer = (row, than) => startOf(row) >= startOf(than);

function tell(count) {
  news.hidden = count === 0;
  button.textContent = count === 1 ? "1 new execution" : `${count} new executions`;
}

button.onclick = () => {
  scrollTo({ top: 0 });
  list.replaceChildren(...newest.cloneNode(true).childNodes);
  document.dispatchEvent(new CustomEvent("exchanged"));
  tell(0);
};

const look = gathered(async () => {
  try {
    newest = one("#list", await page(location.href));
    put(newest.cloneNode(true));
    document.dispatchEvent(new CustomEvent("exchanged"));
  } catch (error) {
    state(`not up to date: ${error.message}`);
  }
}, 600);

function state(text) {
  one("#live-state").replaceChildren(el("span", { class: text === "live" ? "good" : "muted" }, text === "live" ? "● live" : text));
}

if (!("still" in list.dataset)) follow(list.dataset.live, look, state);

// The list follows: rows change where they are; new ones come to where they belong, or wait behind a button while
// somebody reads, as does what the filters no longer let through.
import { all, one, page, tellLive } from "./dom.js";
import { exchange } from "./exchange.js";
import { follow } from "./live.js";

const list = one("#list");
const news = one("#news");
const button = one("#show-news");
let newest = null;

const rowsOf = (within) => new Map(all("tr[data-row]", within).map((row) => [row.dataset.row, row]));
const isRead = () => scrollY > 80 || list.contains(document.activeElement) || !getSelection().isCollapsed;

function put() {
  const there = rowsOf(list);
  const found = rowsOf(one("#list", newest));
  let coming = 0;
  for (const [id, row] of found) {
    const current = there.get(id);
    if (current) exchangeRow(current, row);
    else coming += 1;
  }
  // What is older than a page that goes on has only made room.
  const last = one("[rel=next]", newest) ? startOf([...found.values()].at(-1)) : "";
  const gone = [...there].filter(([id, row]) => !found.has(id) && startOf(row) > last);
  for (const [id, row] of there) row.classList.toggle("gone", gone.some(([one]) => one === id));
  if (isRead()) tell(coming, gone.length);
  else showNewest(there);
}

/** The list as the server has it by now; rows that were there stay the elements that they are. */
function showNewest(there) {
  const found = one("#list", newest.cloneNode(true));
  for (const [id, row] of rowsOf(found)) {
    const current = there.get(id);
    if (current) row.replaceWith(current);
    else if (there.size) row.classList.add("fresh");
  }
  list.replaceChildren(...found.childNodes);
  for (const part of ["#hidden", ".pager"]) exchange(one(part), one(part, newest.cloneNode(true)));
  tell(0, 0);
}

function exchangeRow(current, row) {
  // The link keeps its focus: only cells that differ are exchanged.
  [...row.cells].forEach((cell, at) => {
    const old = current.cells[at];
    if (!old.isEqualNode(cell)) old.replaceChildren(...cell.cloneNode(true).childNodes);
  });
}

const startOf = (row) => one("time", row)?.dateTime ?? "";

function tell(coming, gone) {
  news.hidden = !coming && !gone;
  button.textContent = [coming && (coming === 1 ? "1 new execution" : `${coming} new executions`), gone && `${gone} no longer like this`].filter(Boolean).join(", ");
}

button.onclick = () => {
  scrollTo({ top: 0 });
  showNewest(rowsOf(list));
  one("tbody a", list)?.focus();
};

if (!("still" in list.dataset)) {
  follow(list.dataset.live, async () => {
    newest = await page(location.href);
    put();
  }, 600, tellLive);
}

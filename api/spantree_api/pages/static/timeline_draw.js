// What a row of the timeline is drawn of.
import { el } from "./dom.js";
import { cost, count, duration, visible } from "./text.js";

/** Make the element of a row what another one of the same row is. */
export function exchangeRow(element, newer) {
  for (const { name, value } of newer.attributes) if (name !== "style" && element.getAttribute(name) !== value) element.setAttribute(name, value);
  if (!newer.hasAttribute("aria-expanded")) element.removeAttribute("aria-expanded");
  element.style.top = newer.style.top;
  [...newer.children].forEach((part, at) => {
    if (!element.children[at].isEqualNode(part)) element.children[at].replaceChildren(...part.childNodes);
  });
}

/** What stands behind a name: kind or error, attempt, turn, how much is inside. */
export function marksOf(row, rows) {
  const mark = (text, title = text) => el("span", { class: "tmark", title }, text);
  if (row.type === "group") return [mark(row.told)];
  if (row.type === "folded") return [el("span", { class: "tkind" }, visible(row.kind))];
  const marks = [el("span", { class: row.error ? "tkind bad" : "tkind" }, visible(row.error === null ? row.kind : row.error.split(".").at(-1)))];
  if (row.attempt > 1 || row.attempts > 1 || row.status === "retried") marks.push(mark(`attempt ${row.attempt}${row.attempts > 1 ? `/${row.attempts}` : ""}`));
  if (row.tokens !== null) marks.push(mark(`${count(row.tokens)} tok`, "tokens into a model and out of it"));
  if (row.cost !== null) marks.push(mark(cost(row.cost), "cost"));
  if (row.iteration !== null) marks.push(mark(`turn ${row.iteration}`));
  if (row.folded && !rows.folded.has(row.sequence)) marks.push(mark(`+${row.folded}`, "spans folded into it"));
  if (row.collapsed && row.end > row.sequence + 1) {
    marks.push(mark(`${row.end - row.sequence - 1} below`));
    const failed = rows.failedWithin(row.sequence + 1, row.end);
    if (failed) marks.push(el("span", { class: "tmark bad", title: `${failed} failed below`, "aria-label": `${failed} failed below`, role: "img" }, `✕ ${failed}`));
  }
  return marks;
}

/** The bar of a row in the time `[from, to]`, and how long it took; of what has not ended until `now`. */
export function trackOf(row, tone, [from, to], now) {
  const track = el("div", { class: "track", role: "gridcell" });
  const open = row.duration === null;
  const length = open ? (row.status === "pending" ? 0 : Math.max(0, now - row.start)) : row.duration;
  const left = ((row.start - from) / (to - from)) * 100;
  const right = ((row.start + length - from) / (to - from)) * 100;
  const told = row.status === "skipped" ? "skipped" : row.status === "pending" ? "pending" : `${duration(length / 1000)}${open ? " so far" : ""}`;
  if (right >= 0 && left <= 100) {
    const bar = el("div", { class: `tbar k-${/^[a-z]+/.exec(row.kind)?.[0] ?? "other"}` });
    if (tone === "bad" || row.status === "retried") bar.classList.add(tone);
    if (row.critical) bar.classList.add("critical");
    if (open && row.status !== "pending") bar.classList.add("open");
    if (["skipped", "pending", "waiting"].includes(row.status)) bar.classList.add("never");
    bar.style.left = `${Math.max(-1, left)}%`;
    bar.style.width = `${Math.min(101, right) - Math.max(-1, left)}%`;
    track.append(bar);
  }
  const label = el("span", { class: "ttime" }, told);
  const [shownLeft, shownRight] = [Math.max(0, Math.min(100, left)), Math.max(0, Math.min(100, right))];
  if (shownRight < 78) label.style.left = `${shownRight}%`;
  else if (shownLeft > 22) label.style.right = `${100 - shownLeft}%`;
  else label.style.left = `${shownLeft + 1}%`;
  if (shownRight >= 78 && shownLeft <= 22) label.classList.add("inside");
  track.append(label);
  return track;
}

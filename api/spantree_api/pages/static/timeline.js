// The timeline: a tree with bars on one axis. Only rows that are seen are in the document, only pages of them are fetched.
import { all, el, json, one, own, say, settled } from "./dom.js";
import { SIGNS, axisTime, visible } from "./text.js";
import { part, tellPart } from "./address.js";
import { lettersCount } from "./chosen.js";
import { exchangeRow, marksOf, trackOf } from "./timeline_draw.js";
import { Minimap } from "./timeline_minimap.js";
import { Rows } from "./timeline_rows.js";

const ROW = 26;
const SPARE = 12;
// Rows on paper, at most.
const PRINTED = 1000;
const INDENT = 14;
const INDENTS = 18;
const BAD = new Set(["failed", "timed_out", "retried"]);
// Distances between marks of the axis, in microseconds; of days beyond.
const STEPS = [
  ...[1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((size) => [size, 2 * size, 5 * size]),
  ...[10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].map((seconds) => seconds * 1e6),
];
const DAY = 86_400e6;
// After which what could not be read is asked for again.
const AGAIN_MS = 5000;

/** The number of a node; of a row that is none, that of the node which it stands at. */
const sequenceOf = (item) => (typeof item === "number" ? item : item.sequence);
const idOf = (item) => (typeof item === "number" ? `step-${item}` : `row-${item.key.replace(" ", "-")}`);

export class Timeline {
  constructor(place, id, open) {
    this.place = place;
    this.id = id;
    this.open = open;
    this.box = one("#rows", place);
    this.canvas = one("#canvas", place);
    this.drawn = new Map();
    this.items = new WeakMap();
    this.chosen = null;
    this.cursor = 1;
    this.hasCursor = false;
    this.matches = [];
    this.found = new Set();
    this.errors = null;
    this.whole = [0, 1];
    this.span = null;
    this.isOpen = false;
    this.aloneId = null;
    this.base = 0;
    this.rows = new Rows(id, Number(place.dataset.total), (page) => this.arrived(page));
    this.minimap = new Minimap(one("#minimap", place), (span) => this.zoom(span), () => this.bringShown());
    this.listen();
  }

  async start() {
    this.canvas.replaceChildren(el("p", { class: "note" }, "loading …"));
    try {
      await this.rows.want([1]);
      this.looking = this.lookAround();
    } catch (error) {
      this.canvas.replaceChildren(el("p", { class: "note" }, `The steps could not be read: ${visible(error.message)}`));
    }
    const find = one("#find", this.place);
    const zoom = part("zoom")?.split("..").map(Number);
    find.value ||= part("find") ?? "";
    one("#show-only", this.place).checked = part("only") === "1";
    if (part("alone")) await this.showAlone(part("alone"));
    if (find.value) await this.search(find.value.trim(), part("node") === null);
    if (zoom?.length === 2 && zoom[1] > zoom[0]) this.zoom(zoom);
    this.place.dataset.ready = "1";
  }

  /** Of an execution that is not read at once: when all of it ran. */
  async lookAround() {
    if (this.rows.isWhole) return;
    try {
      this.rows.overview = await json(own(`/api/v1/executions/${this.id}/timeline/overview`));
      this.minimap.show(this.rows.overview);
    } catch (error) {
      say(error.message);
    }
  }

  arrived(page) {
    if (this.aloneId) this.keepAlone();
    if (page.statuses.some((status) => BAD.has(status))) one("#next-error", this.place).hidden = false;
    this.isOpen = ["running", "pending", "waiting"].includes(page.status);
    const length = (page.ended_ns - page.started_ns) / 1000;
    let [from, to] = [0, Math.max(1, length)];
    for (const [at, start] of page.nodes.start_us.entries()) {
      if (start < from) from = start;
      const end = start + (page.nodes.duration_us[at] ?? 0);
      if (end > to) to = end;
    }
    const before = this.whole;
    this.whole = [Math.min(from, before[0]), Math.max(to, before[1])];
    this.nowUs = length;
    this.nowAt = performance.now();
    this.minimap.add(page, this.whole, this.rows.total);
    if (this.rows.isWhole && page.nodes.folded.some(Boolean)) one("#folded", this.place).hidden = false;
    this.draw(true);
  }

  get now() { return this.nowUs + (this.isOpen ? (performance.now() - this.nowAt) * 1000 : 0); }

  get shown() { return this.span ?? this.whole; }

  zoom(span) {
    this.span = span && span[1] - span[0] < (this.whole[1] - this.whole[0]) * 0.999 ? span : null;
    one("#zoom-out", this.place).disabled = this.span === null;
    this.tellZoom();
    this.draw(true);
  }

  tellZoom = settled(() => tellPart("zoom", this.span?.map(Math.round).join("..")), 200);

  /** Bring into view what begins in the time that is shown. */
  async bringShown() {
    await this.looking;
    const first = this.span && this.rows.firstWithin(this.span);
    if (first) this.bring(first);
  }

  /** Show the time of the row with the cursor alone. */
  zoomToRow() {
    const row = this.rows.row(this.cursor);
    if (!row) return;
    const length = row.duration ?? Math.max(0, this.whole[1] - row.start);
    const margin = Math.max(5, length * 0.02);
    this.zoom([Math.max(this.whole[0], row.start - margin), Math.min(this.whole[1], row.start + length + margin)]);
  }

  zoomBy(factor, around = 0.5) {
    const [from, to] = this.shown;
    const width = Math.max(10, (to - from) * factor);
    const middle = from + (to - from) * around;
    const start = Math.max(this.whole[0], Math.min(middle - width * around, this.whole[1] - width));
    this.zoom([start, Math.min(this.whole[1], start + width)]);
  }

  // drawing

  draw(anew = false) {
    this.anew ||= anew;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.drawNow(this.anew);
      this.anew = false;
    });
  }

  drawNow(anew) {
    const { count } = this.rows;
    this.canvas.style.height = `${count * ROW}px`;
    this.box.setAttribute("aria-rowcount", count);
    const first = this.prints ? 0 : Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const last = Math.min(count - 1, this.prints ? PRINTED - 1 : Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + SPARE);
    if (anew) {
      this.drawScale();
      this.minimap.mark(this.span, this.whole);
      if (!this.drawn.size) this.canvas.replaceChildren(...(count ? [] : [el("p", { class: "note" }, "No step has come yet.")]));
    }
    const wanted = [];
    for (let index = first; index <= last; index += 1) {
      const item = this.rows.at(index);
      const there = this.drawn.get(item);
      const row = this.rows.row(item);
      const isLoaded = row !== null;
      if (there && there.isLoaded === isLoaded && !anew) wanted.push([item, there]);
      else {
        const element = row ? this.rowElement(row, index) : this.emptyElement(item, index);
        // Who points at a row, or is about to click on it, has it still.
        if (there?.isLoaded && isLoaded) exchangeRow(there.element, element);
        wanted.push([item, there?.isLoaded && isLoaded ? there : { element, isLoaded }]);
      }
    }
    const before = this.drawn;
    this.drawn = new Map(wanted);
    for (const [item, { element }] of before) if (this.drawn.get(item)?.element !== element) element.remove();
    // In the order in which they are read.
    let previous = null;
    for (const [item, { element }] of wanted) {
      this.items.set(element, item);
      if (element.parentNode !== this.canvas || element.previousElementSibling !== previous) {
        if (previous) previous.after(element);
        else this.canvas.prepend(element);
      }
      previous = element;
    }
    this.mark();
    if (count) {
      const sequences = wanted.map(([item]) => sequenceOf(item));
      this.seen = [sequences[0], sequences.at(-1)];
      this.wantSoon(sequences);
    }
  }

  wantSoon = settled((sequences) => this.rows.want(sequences).catch((error) => {
    say(error.message);
    setTimeout(() => this.draw(), AGAIN_MS);
  }), 60);

  emptyElement(sequence, index) {
    const element = el("div", { class: "trow unloaded", role: "row" }, el("div", { class: "tcell", role: "gridcell" }, el("span", { class: "tname" }, `${sequence} …`)));
    element.style.top = `${index * ROW}px`;
    return element;
  }

  rowElement(row, index) {
    const [sign, tone, word] = SIGNS[row.status] ?? ["·", "calm", row.status];
    const indent = el("span", { class: "indent" });
    const depth = Math.max(0, row.depth - this.base);
    indent.style.width = `${Math.min(depth, INDENTS) * INDENT}px`;
    const fold = el("span", { class: "fold", "aria-hidden": "true" }, row.parent ? (row.collapsed ? "▸" : "▾") : "");
    const cell = el("div", { class: "tcell", role: "gridcell" }, indent, fold, el("span", { class: `tsign ${tone}`, "aria-label": word, role: "img", title: word }, sign),
      el("bdi", { class: "tname" }, visible(row.name)), ...marksOf(row, this.rows));
    const element = el("div", { class: "trow", role: "row", id: idOf(row.type ? row : row.sequence), "aria-level": depth + 1, "aria-rowindex": index + 1 }, cell, trackOf(row, tone, this.shown, this.now));
    element.style.top = `${index * ROW}px`;
    element.title = [row.name, word, row.service].filter(Boolean).map(visible).join(" · ");
    if (row.type) element.classList.add(`t${row.type}`);
    else element.dataset.sequence = row.sequence;
    if (row.parent) element.setAttribute("aria-expanded", String(!row.collapsed));
    return element;
  }

  drawScale() {
    const [from, to] = this.shown;
    const scale = one("#scale", this.place);
    const least = (to - from) / Math.max(2, Math.min(8, Math.floor(scale.clientWidth / 90)));
    const step = STEPS.find((one) => one >= least) ?? Math.ceil(least / DAY) * DAY;
    const first = Math.ceil(from / step);
    // A label that would be cut is left out.
    const room = (to - from) * (1 - 60 / Math.max(120, scale.clientWidth));
    scale.replaceChildren(...Array.from({ length: Math.floor(to / step) - first + 1 }, (_, at) => {
      const moment = (first + at) * step;
      const tick = el("span", {}, moment - from > room ? "" : axisTime(moment, step));
      tick.style.left = `${((moment - from) / (to - from)) * 100}%`;
      return tick;
    }));
  }

  // choosing, searching

  /** Mark a node and bring it into view. `sequence` where it is known. */
  choose(id, sequence) {
    this.chosen = id;
    const number = this.rows.numbers.get(id) ?? sequence;
    if (id && number) {
      this.cursor = number;
      this.bring(number);
      requestAnimationFrame(() => one(`#step-${number}`, this.canvas)?.scrollIntoView({ block: "nearest" }));
    }
    this.mark();
  }

  mark() {
    for (const [item, { element }] of this.drawn) {
      const chosen = this.chosen !== null && this.rows.numbers.get(this.chosen) === item;
      element.classList.toggle("chosen", chosen || (item === this.cursor && this.hasCursor));
      element.setAttribute("aria-selected", String(chosen));
      element.classList.toggle("found", this.found.has(item));
    }
    // Only what is in the document can be named.
    if (this.drawn.has(this.cursor)) this.box.setAttribute("aria-activedescendant", idOf(this.cursor));
    else this.box.removeAttribute("aria-activedescendant");
  }

  bring(item) {
    if (typeof item === "number" && this.rows.reveal(item)) this.tellHidden();
    const top = this.rows.indexOf(item) * ROW;
    if (top < this.box.scrollTop || top > this.box.scrollTop + this.box.clientHeight - 2 * ROW) {
      this.canvas.style.height = `${this.rows.count * ROW}px`;
      this.box.scrollTop = Math.max(0, top - this.box.clientHeight / 3);
    }
    this.draw();
  }

  /** Put the cursor on an item; `open`: and show the node's panel, or open and close the group. */
  async goTo(item, open = true) {
    this.hasCursor = true;
    this.cursor = item;
    this.bring(item);
    if (item.type === "group") {
      if (open) this.toggle(this.rows.row(item));
      return;
    }
    const sequence = sequenceOf(item);
    await this.rows.want([sequence]).catch((error) => say(error.message));
    const row = this.rows.node(sequence);
    if (row && open) this.open(row.id);
    this.mark();
  }

  move(step) {
    const index = Math.max(0, Math.min(this.rows.count - 1, this.rows.indexOf(this.cursor) + step));
    const item = this.rows.at(index);
    if (item === undefined) return;
    this.goTo(item, false);
    if (this.chosen !== null) this.openSoon();
  }

  openSoon = settled(() => {
    const row = this.rows.row(this.cursor);
    if (row?.id) this.open(row.id, "replace");
  }, 150);

  /** Mark what has the text, and `go` to the first of it; the address says what is searched for. */
  async search(text, go = true) {
    tellPart("find", text);
    this.matches = [];
    this.found = new Set();
    const told = one("#found", this.place);
    if (!text) {
      told.textContent = "";
      this.showOnly();
      return;
    }
    try {
      const found = await json(own(`/api/v1/executions/${this.id}/timeline/matches?q=${encodeURIComponent(text)}`));
      if (one("#find", this.place).value.trim() !== text) return;
      this.matches = found.sequences;
      this.found = new Set(found.sequences);
      told.textContent = found.sequences.length ? `${found.sequences.length}${found.truncated ? "+" : ""} found` : "nothing found";
      this.showOnly();
      if (go && this.matches.length) this.goTo(this.matches[0], false);
    } catch (error) {
      told.textContent = visible(error.message);
    }
  }

  /** Of the rows those that were found and what they are below of, or all, as it is chosen. */
  showOnly() {
    const chosen = one("#show-only", this.place);
    one("#only", this.place).hidden = !this.matches.length;
    this.rows.only = chosen.checked && this.matches.length ? this.found : null;
    this.rows.list();
    tellPart("only", this.rows.only && "1");
    this.draw(true);
  }

  /** Show a node with what is below it alone, as wide as there is room; all again without an id. */
  async showAlone(id) {
    this.aloneId = id ?? null;
    if (id) {
      try {
        const sequence = this.rows.numbers.get(id) ?? (await json(own(`/api/v1/executions/${this.id}/nodes/${encodeURIComponent(id)}`))).sequence;
        await this.rows.want([sequence]);
        this.cursor = sequence;
      } catch (error) {
        this.aloneId = null;
        say(error.message);
      }
    }
    this.keepAlone();
    if (this.aloneId) this.zoomToRow();
    else this.zoom(null);
    this.box.scrollTop = 0;
  }

  keepAlone() {
    const row = this.aloneId === null ? null : this.rows.node(this.rows.numbers.get(this.aloneId));
    this.rows.alone = row && [row.sequence, row.end];
    this.base = row?.depth ?? 0;
    this.rows.list();
    this.tellHidden();
  }

  /** What of the rows is hidden, in the controls and in the address. */
  tellHidden() {
    if (!this.rows.alone) [this.aloneId, this.base] = [null, 0];
    if (!this.rows.only) one("#show-only", this.place).checked = false;
    const button = one("#alone", this.place);
    button.textContent = this.aloneId ? "all steps" : "only this";
    button.setAttribute("aria-pressed", String(this.aloneId !== null));
    tellPart("alone", this.aloneId);
    tellPart("only", this.rows.only && "1");
    this.draw(true);
  }

  nextOf(sequences, step) {
    if (!sequences.length) return null;
    // A group stands before its first node, a folded span after its node.
    const at = sequenceOf(this.cursor) - (this.cursor.type === "group" ? 0.5 : 0);
    const later = step > 0 ? sequences.find((one) => one > at) : sequences.findLast((one) => one < at);
    return later ?? (step > 0 ? sequences[0] : sequences.at(-1));
  }

  nextMatch(step) {
    const next = this.nextOf(this.matches, step);
    if (next === null) return say("search for something first");
    this.goTo(next);
    one("#found", this.place).textContent = `${this.matches.indexOf(next) + 1} of ${this.matches.length}`;
    return undefined;
  }

  async nextError() {
    try {
      this.errors ??= (await json(own(`/api/v1/executions/${this.id}/timeline/matches?failed=true`))).sequences;
    } catch (error) {
      say(error.message);
      return;
    }
    const next = this.nextOf(this.errors, 1);
    if (next === null) say("no step failed");
    else this.goTo(next);
  }

  /** Show the spans that are folded into steps as rows below them, or no more. */
  async showFolded(shown) {
    try {
      if (await this.rows.unfold(shown)) say("the first 5,000 folded spans are shown");
    } catch (error) {
      one("#show-folded", this.place).checked = false;
      say(error.message);
    }
    this.draw(true);
  }

  // following

  async refresh() {
    this.errors = null;
    await this.rows.refresh(...(this.seen ?? [1, 1]));
    if (this.rows.total && !this.rows.pages.size) await this.rows.want([1]);
  }

  ended() {
    this.isOpen = false;
    this.lookAround();
    this.draw(true);
  }

  // listening

  listen() {
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw(true)).observe(this.box);
    for (const prints of [true, false]) {
      addEventListener(prints ? "beforeprint" : "afterprint", () => {
        this.prints = prints;
        this.drawNow(true);
      });
    }
    document.addEventListener("recoloured", () => this.minimap.redraw());
    this.canvas.addEventListener("click", (event) => {
      const item = this.items.get(event.target.closest(".trow"));
      const row = item === undefined ? null : this.rows.row(item);
      if (!row) return;
      if (event.target.closest(".fold") && row.parent) {
        this.cursor = item;
        this.toggle(row);
      } else this.goTo(item);
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey || !event.target.closest(".track")) return;
      event.preventDefault();
      const area = event.target.closest(".track").getBoundingClientRect();
      this.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, (event.clientX - area.left) / area.width);
    }, { passive: false });
    const search = settled((text) => this.search(text), 200);
    const find = one("#find", this.place);
    find.addEventListener("input", () => search(find.value.trim()));
    find.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.nextMatch(event.shiftKey ? -1 : 1);
    });
    one("#show-only", this.place).addEventListener("change", () => this.showOnly());
    const folded = one("#show-folded", this.place);
    folded.addEventListener("change", () => this.showFolded(folded.checked));
    const buttons = {
      "find-next": () => this.nextMatch(1), "find-previous": () => this.nextMatch(-1), "next-error": () => this.nextError(),
      "collapse-all": () => this.collapseAll(), "expand-all": () => this.expandAll(), "zoom-out": () => this.zoom(null),
      "zoom-row": () => this.zoomToRow(), alone: () => this.toggleAlone(),
    };
    for (const [id, act] of Object.entries(buttons)) one(`#${id}`, this.place).onclick = act;
    document.addEventListener("keydown", (event) => this.key(event), true);
    setInterval(() => { if (this.isOpen && !document.hidden) this.draw(true); }, 1000);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog, .panel")) return;
    const onRows = event.target === this.box;
    if (!onRows && !lettersCount()) return;
    const act = {
      j: () => this.move(1), k: () => this.move(-1), f: () => this.move(1), b: () => this.move(-1),
      e: () => this.nextError(), n: () => this.nextMatch(1), N: () => this.nextMatch(-1),
      h: () => this.toggleFolded(), o: () => this.toggleAlone(),
      "[": () => this.collapseAll(), "]": () => this.expandAll(),
      z: () => this.zoomToRow(), "+": () => this.zoomBy(0.5), "=": () => this.zoomBy(0.5), "-": () => this.zoomBy(2), 0: () => this.zoom(null),
      ...(onRows && {
        ArrowDown: () => this.move(1), ArrowUp: () => this.move(-1), PageDown: () => this.move(20), PageUp: () => this.move(-20),
        Home: () => this.goTo(this.rows.at(0), false), End: () => this.goTo(this.rows.at(this.rows.count - 1), false),
        ArrowRight: () => this.expand(), ArrowLeft: () => this.collapse(), Enter: () => this.goTo(this.cursor), " ": () => this.goTo(this.cursor),
      }),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  toggleFolded() {
    const folded = one("#show-folded", this.place);
    if (one("#folded", this.place).hidden) return say("no span is folded into a step here");
    folded.checked = !folded.checked;
    this.showFolded(folded.checked);
    return undefined;
  }

  toggleAlone() {
    const row = this.rows.node(sequenceOf(this.cursor));
    this.showAlone(this.aloneId || !row ? null : row.id);
  }

  toggle(row) {
    this.rows.toggle(row);
    this.draw(true);
  }

  expand() {
    const row = this.rows.row(this.cursor);
    if (row?.parent && row.collapsed) this.toggle(row);
    else if (row?.parent) this.move(1);
  }

  collapse() {
    const row = this.rows.row(this.cursor);
    if (!row) return;
    if (row.parent && !row.collapsed) this.toggle(row);
    else for (let at = this.rows.indexOf(this.cursor) - 1; at >= 0; at -= 1) {
      const before = this.rows.row(this.rows.at(at));
      if (!before) break;
      if (before.depth < row.depth) { this.goTo(this.rows.at(at), false); break; }
    }
  }

  async collapseAll() {
    await this.rows.collapseAll().catch((error) => say(error.message));
    this.box.scrollTop = 0;
    this.draw(true);
  }

  expandAll() {
    this.rows.expandAll();
    this.draw(true);
  }
}

// Which rows there are, without having them all: pages of columns by sequence number, and what is collapsed.
//
// Nodes are numbered depth first, so a subtree is a range of numbers and a collapsed node hides (itself, its end).
import { json } from "./dom.js";

const WHOLE = 5000;
const PAGE = 1000;

export class Rows {
  constructor(id, total, arrived) {
    this.id = id;
    this.total = total;
    this.size = total <= WHOLE ? WHOLE : PAGE;
    this.pages = new Map();
    this.numbers = new Map();
    this.collapsed = new Map();
    this.hidden = [];
    this.arrived = arrived;
  }

  /** How many rows are not hidden by a collapsed one. */
  get count() { return Math.max(0, this.total - this.hidden.reduce((sum, [from, to]) => sum + to - from, 0)); }

  /** The row of sequence number `sequence`, null while it is not loaded. */
  row(sequence) {
    const page = this.pages.get(Math.floor((sequence - 1) / this.size));
    if (!page || page.loading) return null;
    const at = sequence - page.first;
    const { nodes } = page;
    if (at < 0 || at >= nodes.id.length) return null;
    const end = nodes.end[at] ?? this.total + 1;
    const nextDepth = at + 1 < nodes.depth.length ? nodes.depth[at + 1] : 0;
    return {
      sequence, id: nodes.id[at], depth: nodes.depth[at], end,
      parent: nodes.end[at] === null ? nextDepth > nodes.depth[at] : end > sequence + 1,
      name: page.names[nodes.name[at]], kind: page.kinds[nodes.kind[at]], status: page.statuses[nodes.status[at]],
      service: page.services[nodes.service[at]], start: nodes.start_us[at], duration: nodes.duration_us[at],
      attempt: nodes.attempt[at], attempts: nodes.attempts[at], iteration: nodes.iteration[at],
      error: nodes.error[at] === null ? null : page.errors[nodes.error[at]], critical: nodes.critical[at] === 1, folded: nodes.folded[at],
    };
  }

  /** Load what is missing of [from, to]. */
  want(from, to) {
    const asked = [];
    for (let page = Math.floor((from - 1) / this.size); page <= Math.floor((to - 1) / this.size); page += 1) {
      if (!this.pages.has(page)) asked.push(this.load(page));
    }
    return Promise.all(asked);
  }

  async load(page) {
    if (!this.pages.has(page)) this.pages.set(page, { loading: true });
    try {
      const found = await json(`/api/v1/executions/${this.id}/timeline?first=${page * this.size + 1}&limit=${this.size}`);
      this.pages.set(page, found);
      found.nodes.id.forEach((id, at) => this.numbers.set(id, found.first + at));
      if (found.total !== this.total) {
        this.total = found.total;
        this.hide();
      }
      this.arrived(found, page);
    } catch (error) {
      this.pages.delete(page);
      throw error;
    }
  }

  /** Load again what is shown; all else when it is next seen. */
  async refresh(from, to) {
    const shown = [...this.pages.keys()].filter((page) => (page + 1) * this.size >= from && page * this.size + 1 <= to);
    for (const page of this.pages.keys()) if (!shown.includes(page)) this.pages.delete(page);
    await Promise.all(shown.map((page) => this.load(page)));
  }

  /** The sequence number of the row that stands at `index`. */
  at(index) {
    let sequence = index + 1;
    for (const [from, to] of this.hidden) {
      if (sequence < from) break;
      sequence += to - from;
    }
    return sequence;
  }

  /** Where the row of `sequence` stands; of one that is hidden, where the one that hides it does. */
  indexOf(sequence) {
    let before = 0;
    for (const [from, to] of this.hidden) {
      if (sequence < from) break;
      if (sequence < to) return from - 2 - before;
      before += to - from;
    }
    return sequence - 1 - before;
  }

  toggle(row, collapse = !this.collapsed.has(row.sequence)) {
    if (collapse && row.parent) this.collapsed.set(row.sequence, row.end);
    else this.collapsed.delete(row.sequence);
    this.hide();
  }

  /** Open everything that hides `sequence`. */
  reveal(sequence) {
    for (const [from, end] of this.collapsed) if (from < sequence && sequence < end) this.collapsed.delete(from);
    this.hide();
  }

  collapseAll() {
    for (const row of this.loaded()) if (row.parent && row.depth > 0) this.collapsed.set(row.sequence, row.end);
    this.hide();
  }

  expandAll() {
    this.collapsed.clear();
    this.hide();
  }

  * loaded() {
    for (const page of this.pages.values()) {
      if (page.loading) continue;
      for (let at = 0; at < page.nodes.id.length; at += 1) yield this.row(page.first + at);
    }
  }

  hide() {
    const ranges = [...this.collapsed].map(([from, end]) => [from + 1, Math.min(end, this.total + 1)]).sort((a, b) => a[0] - b[0]);
    const merged = [];
    for (const [from, to] of ranges) {
      const last = merged.at(-1);
      if (last && from < last[1]) last[1] = Math.max(last[1], to);
      else if (to > from) merged.push([from, to]);
    }
    this.hidden = merged;
  }
}

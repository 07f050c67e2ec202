// Which rows there are, without having them all: pages of columns by sequence number, and what is collapsed.
//
// Nodes are numbered depth first, so a subtree is a range of numbers and a collapsed node hides (itself, its end). What
// stands in the tree is a list of items: the sequence number of a node, or an object for a row that is no node: a group
// of attempts or of a turn, above its nodes, and a span that is folded into a node, below it.
import { json, own } from "./dom.js";

const WHOLE = 5000;
const PAGE = 1000;
// Nodes right below the outermost ones that are asked for at once.
const UPPER = 2000;

export class Rows {
  constructor(id, total, arrived) {
    this.id = id;
    this.total = total;
    this.pages = new Map();
    this.numbers = new Map();
    this.collapsed = new Map();
    this.closed = new Set();
    this.groups = [];
    this.folded = new Map();
    // A node alone with what is below it: [its number, the first after them]; and the nodes that are let through.
    this.alone = null;
    this.only = null;
    this.arrived = arrived;
    this.list();
  }

  get size() { return this.total <= WHOLE ? WHOLE : PAGE; }

  /** Whether all nodes come at once: only then are there groups and folded spans. */
  get isWhole() { return this.total <= WHOLE; }

  /** How many rows are not hidden by a collapsed one. */
  get count() { return this.items.length; }

  /** The row of an item, null while it is not loaded. */
  row(item) { return typeof item === "number" ? this.node(item) : { ...item, collapsed: this.closed.has(item.key) }; }

  node(sequence) {
    const page = this.pages.get(Math.floor((sequence - 1) / this.size));
    if (!page || page.loading) return null;
    const at = sequence - page.first;
    const { nodes } = page;
    if (at < 0 || at >= nodes.id.length) return null;
    const end = nodes.end[at] ?? this.total + 1;
    const nextDepth = at + 1 < nodes.depth.length ? nodes.depth[at + 1] : 0;
    const below = nodes.end[at] === null ? nextDepth > nodes.depth[at] : end > sequence + 1;
    return {
      sequence, id: nodes.id[at], depth: nodes.depth[at] + (this.shift?.[sequence] ?? 0), end,
      parent: below || this.folded.has(sequence), collapsed: this.collapsed.has(sequence),
      name: page.names[nodes.name[at]], kind: page.kinds[nodes.kind[at]], status: page.statuses[nodes.status[at]],
      service: page.services[nodes.service[at]], start: nodes.start_us[at], duration: nodes.duration_us[at],
      attempt: nodes.attempt[at], attempts: nodes.attempts[at], iteration: this.inTurn?.[sequence] ? null : nodes.iteration[at],
      error: nodes.error[at] === null ? null : page.errors[nodes.error[at]], critical: nodes.critical[at] === 1, folded: nodes.folded[at],
      tokens: nodes.tokens[at], cost: nodes.cost_usd[at],
    };
  }

  /** The first node that is known to begin in a span of time; null where none is. */
  firstWithin([from, to]) {
    const within = (start) => start >= from && start <= to;
    if (this.overview) {
      const { first, start_us: starts } = this.overview.bands;
      return first[starts.findIndex(within)] ?? null;
    }
    for (const row of this.loaded()) if (within(row.start)) return row.sequence;
    return null;
  }

  /** Load what is missing of the nodes: between those that are seen a collapsed one may hide thousands. */
  want(sequences) {
    const pages = new Set(sequences.map((one) => Math.floor((one - 1) / this.size)));
    return Promise.all([...pages].filter((page) => !this.pages.has(page)).map((page) => this.load(page)));
  }

  async load(page) {
    const { size } = this;
    if (!this.pages.has(page)) this.pages.set(page, { loading: true });
    try {
      const found = await json(own(`/api/v1/executions/${this.id}/timeline?first=${page * size + 1}&limit=${size}`));
      const grew = found.total !== this.total;
      this.total = found.total;
      // Grown out of one page: what was loaded is numbered by another size.
      if (size !== this.size) this.pages.clear();
      else this.pages.set(page, found);
      found.nodes.id.forEach((id, at) => this.numbers.set(id, found.first + at));
      if (this.isWhole || this.groups.length) this.group(found);
      if (grew || this.isWhole || this.only) this.list();
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
    if (this.showsFolded) await this.unfold(true);
  }

  /** Show or hide the spans that are folded into nodes. Returns whether there are more than are shown. */
  async unfold(shown) {
    this.showsFolded = shown;
    this.folded.clear();
    let truncated = false;
    if (shown) {
      const found = await json(own(`/api/v1/executions/${this.id}/timeline/folded`));
      const { spans } = found;
      truncated = found.truncated;
      spans.sequence.forEach((sequence, at) => {
        if (!this.folded.has(sequence)) this.folded.set(sequence, []);
        this.folded.get(sequence).push({
          type: "folded", key: `span ${spans.span_id[at]}`, sequence, name: found.names[spans.name[at]], kind: found.scopes[spans.scope[at]],
          start: spans.start_us[at], duration: spans.duration_us[at], status: spans.failed[at] ? "failed" : "completed", depth: 0,
        });
      });
    }
    this.list();
    return truncated;
  }

  /** Rows above attempts of a task and turns of a loop, and how far they push their nodes to the right. */
  group({ groups, names, statuses, nodes, first }) {
    const shift = new Uint16Array(this.total + 2);
    const inTurn = new Uint8Array(this.total + 2);
    this.groups = groups.first.map((from, at) => {
      const [end, number, kind] = [groups.end[at], groups.number[at], groups.kind[at]];
      const depth = nodes.depth[from - first] + shift[from];
      let [start, until, isOpen, critical] = [Infinity, -Infinity, false, false];
      for (let one = from - first; one < end - first; one += 1) {
        start = Math.min(start, nodes.start_us[one]);
        if (nodes.duration_us[one] === null) isOpen = true;
        else until = Math.max(until, nodes.start_us[one] + nodes.duration_us[one]);
        critical ||= nodes.critical[one] === 1;
        shift[one + first] += 1;
        if (kind === "iteration") inTurn[one + first] = 1;
      }
      const steps = nodes.depth.slice(from - first, end - first).filter((one) => one === nodes.depth[from - first]).length;
      return {
        type: "group", key: `${kind} ${from}`, sequence: from, end, depth, kind, critical, parent: true,
        name: kind === "iteration" ? `turn ${number}` : names[groups.name[at]],
        told: kind === "iteration" ? `${steps} ${steps === 1 ? "step" : "steps"}` : `${number} attempts`,
        status: statuses[groups.status[at]], start, duration: isOpen ? null : Math.max(0, until - start),
      };
    });
    this.shift = shift;
    this.inTurn = inTurn;
  }

  /** The list of items that are not hidden, and where each node stands; of a hidden one, where what hides it does. */
  list() {
    this.items = [];
    this.places = new Int32Array(this.total + 2);
    this.through = this.only && this.withAbove(this.only);
    let [sequence, last] = this.alone ?? [1, this.total + 1];
    let group = this.groups.findIndex((one) => one.sequence >= sequence);
    if (group < 0) group = this.groups.length;
    const skip = (end) => {
      for (let one = sequence; one < Math.min(end, this.total + 1); one += 1) this.places[one] = this.items.length - 1;
      sequence = end;
      while (group < this.groups.length && this.groups[group].sequence < end) group += 1;
    };
    while (sequence < last) {
      if (this.through && !this.through.has(sequence)) {
        while (this.groups[group]?.sequence === sequence) group += 1;
        skip(sequence + 1);
        continue;
      }
      const next = this.groups[group];
      if (next?.sequence === sequence) {
        group += 1;
        this.items.push(next);
        if (this.closed.has(next.key)) skip(next.end);
        continue;
      }
      this.places[sequence] = this.items.length;
      this.items.push(sequence);
      const end = this.collapsed.has(sequence) ? this.node(sequence)?.end ?? this.collapsed.get(sequence) : undefined;
      const spans = this.folded.get(sequence);
      sequence += 1;
      if (end !== undefined) skip(end);
      else if (spans) {
        const depth = this.node(sequence - 1)?.depth ?? 0;
        for (const span of spans) this.items.push(Object.assign(span, { depth: depth + 1 }));
      }
    }
  }

  /** The nodes of `only` and, as far as they are loaded, those above them. */
  withAbove(only) {
    const through = new Set(only);
    let above = [];
    let following = 1;
    for (const page of [...this.pages.values()].filter((one) => !one.loading).sort((a, b) => a.first - b.first)) {
      if (page.first !== following) above = [];
      page.nodes.depth.forEach((depth, at) => {
        above.length = Math.min(above.length, depth);
        if (only.has(page.first + at)) for (const one of above) through.add(one);
        above[depth] = page.first + at;
      });
      following = page.first + page.nodes.depth.length;
    }
    through.delete(undefined);
    return through;
  }

  at(index) { return this.items[index]; }

  /** Where an item stands; of a node that is hidden, where the row that hides it does. */
  indexOf(item) {
    if (typeof item === "number") return this.places[item] ?? 0;
    const at = this.items.findIndex((one) => one.key === item.key);
    return at < 0 ? this.places[item.sequence] ?? 0 : at;
  }

  toggle(row, collapse = !row.collapsed) {
    if (row.type === "group") {
      if (collapse) this.closed.add(row.key);
      else this.closed.delete(row.key);
    } else if (collapse && row.parent) this.collapsed.set(row.sequence, row.end);
    else this.collapsed.delete(row.sequence);
    this.list();
  }

  /** How many of the loaded nodes of a part of the tree failed. */
  failedWithin(from, end) {
    let count = 0;
    for (const page of this.pages.values()) {
      if (page.loading) continue;
      const { first, nodes, statuses } = page;
      const bad = statuses.map((status) => status === "failed" || status === "timed_out");
      for (let at = Math.max(0, from - first); at < Math.min(end - first, nodes.status.length); at += 1) count += bad[nodes.status[at]];
    }
    return count;
  }

  /** Open everything that hides the node of `sequence`. Returns whether something did. */
  reveal(sequence) {
    const isOut = this.alone && (sequence < this.alone[0] || sequence >= this.alone[1]);
    const isHeld = this.through && !this.through.has(sequence);
    if (isOut) this.alone = null;
    if (isHeld) this.only = null;
    const hiding = [...this.collapsed].filter(([from, end]) => from < sequence && sequence < end);
    const closed = this.groups.filter((one) => this.closed.has(one.key) && one.sequence <= sequence && sequence < one.end);
    for (const [from] of hiding) this.collapsed.delete(from);
    for (const one of closed) this.closed.delete(one.key);
    if (!isOut && !isHeld && !hiding.length && !closed.length) return false;
    this.list();
    return true;
  }

  /** Collapse everything below the outermost nodes; of an execution that is not read at once what that is is asked for. */
  async collapseAll() {
    if (!this.isWhole) {
      const { tree } = await json(own(`/api/v1/executions/${this.id}/tree?depth=1&limit=${UPPER}`));
      tree.nodes.forEach(({ sequence, depth }, at) => {
        const end = tree.nodes[at + 1]?.sequence ?? (tree.next_cursor ? 0 : this.total + 1);
        if (depth > 0 && end > sequence + 1) this.collapsed.set(sequence, end);
      });
    }
    for (const row of this.loaded()) if (row.parent && row.depth > 0) this.collapsed.set(row.sequence, row.end);
    for (const one of this.groups) this.closed.add(one.key);
    this.list();
  }

  expandAll() {
    this.collapsed.clear();
    this.closed.clear();
    this.list();
  }

  * loaded() {
    for (const page of this.pages.values()) {
      if (page.loading) continue;
      for (let at = 0; at < page.nodes.id.length; at += 1) yield this.node(page.first + at);
    }
  }
}

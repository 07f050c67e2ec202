// The whole time at a glance: every node that is known as a stroke; drag to look at a part, click to look at all.

const HEIGHT = 40;

export class Minimap {
  constructor(place, zoomed, chosen) {
    this.place = place;
    this.zoomed = zoomed;
    this.chosen = chosen;
    this.canvas = place.querySelector("canvas");
    this.window = place.querySelector(".window");
    this.window.hidden = true;
    this.pages = new Map();
    this.bands = null;
    this.whole = [0, 1];
    this.total = 1;
    new ResizeObserver(() => this.redraw()).observe(place);
    place.addEventListener("pointerdown", (event) => this.drag(event));
  }

  add(page, whole, total) {
    this.pages.set(page.first, page);
    const same = this.whole[0] === whole[0] && this.whole[1] === whole[1] && this.total === total;
    [this.whole, this.total] = [whole, Math.max(1, total)];
    if (same && this.bands) return;
    if (same && this.pages.size > 1) this.draw(page);
    else this.redraw();
  }

  /** Of an execution that is not read at once: bands of neighbours instead of nodes. */
  show(overview) {
    this.bands = overview;
    this.total = Math.max(1, overview.total);
    this.redraw();
  }

  redraw() {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, this.place.clientWidth * ratio);
    this.canvas.height = HEIGHT * ratio;
    const colours = getComputedStyle(document.documentElement);
    const probe = document.createElement("span");
    this.place.append(probe);
    const resolved = (name) => {
      probe.style.color = colours.getPropertyValue(name);
      return getComputedStyle(probe).color;
    };
    this.colours = { plain: resolved("--bar"), bad: resolved("--bar-bad"), warn: resolved("--bar-warn"), critical: resolved("--critical") };
    probe.remove();
    if (this.bands) this.drawBands();
    else for (const page of this.pages.values()) this.draw(page);
  }

  draw(page) {
    const context = this.canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    const [from, to] = this.whole;
    const width = this.canvas.width;
    const thick = Math.max(1, Math.min(4, (HEIGHT - 4) / this.total)) * ratio;
    const { nodes, statuses } = page;
    const length = (page.ended_ns - page.started_ns) / 1000;
    for (let at = 0; at < nodes.id.length; at += 1) {
      const status = statuses[nodes.status[at]];
      const bad = status === "failed" || status === "timed_out";
      context.fillStyle = bad ? this.colours.bad : status === "retried" ? this.colours.warn : this.colours.plain;
      const x = ((nodes.start_us[at] - from) / (to - from)) * width;
      const wide = ((nodes.duration_us[at] ?? length - nodes.start_us[at]) / (to - from)) * width;
      const y = (2 + ((page.first + at - 1) / this.total) * (HEIGHT - 4)) * ratio;
      context.fillRect(x, y, Math.max(bad ? 3 * ratio : 1, wide), bad ? Math.max(thick, ratio * 3) : thick);
    }
  }

  drawBands() {
    const context = this.canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    const [from, to] = this.whole;
    const { bands, size, total } = this.bands;
    const thick = Math.max(1, ((HEIGHT - 4) * size) / total) * ratio;
    const x = (moment) => ((moment - from) / (to - from)) * this.canvas.width;
    bands.first.forEach((first, at) => {
      const y = (2 + ((first - 1) / total) * (HEIGHT - 4)) * ratio;
      const fill = (colour, start, end, least) => {
        context.fillStyle = colour;
        context.fillRect(x(start), y, Math.max(least * ratio, x(end) - x(start)), Math.max(thick, least * ratio));
      };
      fill(this.colours.plain, bands.start_us[at], bands.end_us[at] ?? to, 1);
      if (bands.failed_start_us[at] !== null) fill(this.colours.bad, bands.failed_start_us[at], bands.failed_end_us[at], 4);
    });
  }

  mark(span, whole) {
    this.window.hidden = span === null;
    if (span === null) return;
    const length = whole[1] - whole[0];
    this.window.style.left = `${((span[0] - whole[0]) / length) * 100}%`;
    this.window.style.width = `${((span[1] - span[0]) / length) * 100}%`;
  }

  drag(event) {
    event.preventDefault();
    this.place.setPointerCapture(event.pointerId);
    const area = this.place.getBoundingClientRect();
    const moment = (at) => {
      const share = Math.max(0, Math.min(1, (at - area.left) / area.width));
      return this.whole[0] + share * (this.whole[1] - this.whole[0]);
    };
    const began = event.clientX;
    const moved = (move) => {
      if (Math.abs(move.clientX - began) < 4) return;
      this.zoomed([moment(Math.min(began, move.clientX)), moment(Math.max(began, move.clientX))]);
    };
    const ended = (up) => {
      this.place.removeEventListener("pointermove", moved);
      if (Math.abs(up.clientX - began) < 4) this.zoomed(null);
      else this.chosen();
    };
    this.place.addEventListener("pointermove", moved);
    this.place.addEventListener("pointerup", ended, { once: true });
  }
}

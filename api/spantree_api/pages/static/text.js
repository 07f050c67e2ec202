// Texts and figures as templates tell them too: visible_text.py and wording.py are the other side.

const HIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\udb40[\udc00-\udc7f]/g;

/** `text` with characters that hide, reorder or control others replaced by something that is seen. */
export function visible(text) {
  const told = text.replace(HIDDEN, (found) => {
    const number = found.codePointAt(0);
    if (number < 0x20) return String.fromCharCode(0x2400 + number);
    return number === 0x7f ? "\u2421" : code(found);
  });
  // Of a text of spaces alone nothing would be seen.
  return told.trim() ? told : told.replace(/\s/g, code);
}

const code = (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

/** Milliseconds with a unit. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return ms > 0 ? `${Math.round(ms * 1000)} µs` : "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  const [size, big, small, next] = ms < 3599500 ? [60, "min", "s", 1e3] : ms < 86400000 ? [60, "h", "min", 6e4] : [24, "d", "h", 36e5];
  const units = Math.round(ms / next);
  const rest = units % size;
  return `${Math.floor(units / size)} ${big}${rest ? ` ${rest} ${small}` : ""}`;
}

/** A moment of an axis as exactly as its marks are apart, both in microseconds: 2.5 s, 1:09.25, 2 h. */
export function axisTime(us, step) {
  const digits = (unit) => Math.max(0, unit - Math.floor(Math.log10(step)));
  if (us < 1e6 && step < 1e6) return `${(us / 1e3).toFixed(digits(3))} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(digits(6))} s`;
  if (step >= 60e6) return duration(us / 1e3);
  const minutes = Math.floor(us / 60e6);
  const seconds = ((us - minutes * 60e6) / 1e6).toFixed(digits(6));
  const two = (text) => (/^\d(\.|$)/.test(text) ? `0${text}` : text);
  return minutes < 60 ? `${minutes}:${two(seconds)}` : `${Math.floor(minutes / 60)}:${two(String(minutes % 60))}:${two(seconds)}`;
}

/** With thin spaces between thousands. */
export const count = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** Dollars with as many digits as say something. */
export const cost = (usd) => (usd === 0 ? "$0" : `$${usd.toFixed(usd >= 1 ? 2 : 4)}`);

/** How long before `now` (both ms since 1970). */
export function ago(then, now) {
  const seconds = (now - then) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  const of = Math.abs(seconds);
  const [size, unit] = of >= 86400 ? [86400, "d"] : of >= 3600 ? [3600, "h"] : of >= 60 ? [60, "min"] : [1, "s"];
  const told = `${Math.floor(of / size)} ${unit}`;
  return seconds > 0 ? `${told} ago` : `in ${told}`;
}

export const SIGNS = {
  completed: ["✓", "good", "completed"], failed: ["✕", "bad", "failed"], timed_out: ["◷", "bad", "timed out"],
  partial: ["◐", "warn", "partial"], retried: ["↻", "warn", "retried"], running: ["▶", "live", "running"],
  pending: ["○", "calm", "pending"], waiting: ["‖", "live", "waiting"], skipped: ["↷", "calm", "skipped"],
  cancelled: ["⊘", "calm", "cancelled"], lost: ["?", "warn", "lost"],
};

// A part of a page for its newer self, without taking away what somebody is at.
import { all } from "./dom.js";

const SCROLLS = ".graph, .scroll, pre, [tabindex='0']";

/** What says of two elements of one name that they are the same one. */
const sameness = (element) => element.dataset.node ?? element.dataset.copy ?? element.getAttribute("href") ?? (element.id || element.name || element.textContent);

/** Whether a text in `place` is selected. */
export function isSelected(place) {
  const selection = getSelection();
  return !selection.isCollapsed && place.contains(selection.anchorNode);
}

/** What is open in `current` and what is searched in it is so in `found`, too. */
function carry(current, found) {
  const keyed = (within) => {
    const seen = new Map();
    return all("details", within).map((one) => {
      const name = one.firstElementChild?.textContent ?? "";
      seen.set(name, (seen.get(name) ?? 0) + 1);
      return [`${seen.get(name)} ${name}`, one];
    });
  };
  const there = new Map(keyed(current));
  for (const [key, one] of keyed(found)) if (there.has(key)) one.open = there.get(key).open;
  const fields = all("[data-filter]", current);
  all("[data-filter]", found).forEach((field, at) => {
    if (!fields[at]?.value) return;
    field.value = fields[at].value;
    filter(field);
  });
}

/** Hide what does not have the text of a field that narrows a list of its section. */
export function filter(field) {
  const wanted = field.value.toLowerCase();
  for (const entry of all(field.dataset.filter, field.closest("section"))) entry.hidden = !entry.textContent.toLowerCase().includes(wanted);
}

/**
 * Put the newer `found` in the place of `current`. Focus, what is open, searched and scrolled to stay as they are.
 * Returns whether what is shown is up to date: not while a text in it is selected.
 */
export function exchange(current, found) {
  if (!current || !found) return true;
  carry(current, found);
  if (current.isEqualNode(found)) return true;
  if (isSelected(current)) return false;
  const focused = current.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = all(SCROLLS, current).map((one) => [one.scrollLeft, one.scrollTop]);
  const again = focused && all(focused.localName, found).find((each) => sameness(each) === sameness(focused));
  current.replaceWith(found);
  all(SCROLLS, found).forEach((one, at) => { if (scrolled[at]?.some(Boolean)) [one.scrollLeft, one.scrollTop] = scrolled[at]; });
  again?.focus({ preventScroll: true });
  return true;
}

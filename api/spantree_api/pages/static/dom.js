// Making and exchanging elements. Texts go in by textContent only; documents of the server are parsed, never evaluated.

/** An element with properties and children; a string child is a text. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") element.className = value;
    else if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export const one = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Modules are at /static/VERSION/, below whatever path a proxy in front has us at.
const PREFIX = new URL("../..", import.meta.url).pathname.slice(0, -1);

/** Where a path of ours is for the browser. */
export const own = (path) => PREFIX + path;

/** A page of this server as a document that runs nothing. Throws with the sentence of its error page. */
export async function page(address, signal) {
  const answer = await fetch(address, { signal, headers: { accept: "text/html" } });
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (answer.redirected && new URL(answer.url).pathname === own("/login")) throw new Error("you are no longer logged in, load this page anew");
  if (!answer.ok) throw new Error(one(".lead", found)?.textContent ?? `the server answered ${answer.status}`);
  return found;
}

/** JSON of the API. Throws with the sentence of its error. */
export async function json(address, signal) {
  const answer = await fetch(address, { signal, headers: { accept: "application/json" } });
  const found = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(found?.error?.message ?? `the server answered ${answer.status}`);
  return found;
}

/** Put the newer `found` in the place of `current`, unless they are equal or a text in it is selected. Focus stays where it was. */
export function exchange(current, found) {
  if (!current || !found || current.isEqualNode(found)) return false;
  const selection = getSelection();
  if (!selection.isCollapsed && current.contains(selection.anchorNode)) return false;
  const focused = document.activeElement;
  const again = current.contains(focused) && all(focused.localName, found).find((each) => each.isEqualNode(focused));
  current.replaceWith(found);
  again?.focus?.({ preventScroll: true });
  document.dispatchEvent(new CustomEvent("exchanged"));
  return true;
}

/** Say something to everyone, for a moment. */
export function say(text) {
  const said = one("#said");
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 2500);
}

/** `call` once, `ms` after the first of many calls. */
export function gathered(call, ms) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => { timer = null; call(); }, ms);
  };
}

/** `call` `ms` after the last of many calls. */
export function settled(call, ms) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), ms);
  };
}

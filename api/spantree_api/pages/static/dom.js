// Making and exchanging elements. Texts go in by textContent only; documents of the server are parsed, never evaluated.
import { visible } from "./text.js";
import { tellTimes } from "./chosen.js";

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

// An answer that does not come by then does not come.
const PATIENCE_MS = 60000;

/** `fetch`, whose failures are sentences. */
export async function ask(address, options = {}) {
  try {
    return await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(error.name === "TimeoutError" ? "the server has not answered within a minute" : "the server cannot be reached");
  }
}

/** A page of this server as a document that runs nothing. Throws with the sentence of its error page. */
export async function page(address, signal) {
  const answer = await ask(address, { headers: { accept: "text/html" }, ...(signal && { signal }) });
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (answer.redirected && new URL(answer.url).pathname === own("/login")) throw new Error("you are no longer logged in, load this page anew");
  if (!answer.ok) throw new Error(one(".lead", found)?.textContent ?? `the server answered ${answer.status}`);
  tellTimes(found);
  return found;
}

/** JSON of the API. Throws with the sentence of its error. */
export async function json(address, options = {}) {
  const answer = await ask(address, { ...options, headers: { accept: "application/json", ...options.headers } });
  const found = await answer.json().catch(() => null);
  if (!answer.ok || found === null) throw new Error(found?.error?.message ?? `the server answered ${answer.status}`);
  return found;
}

/** Have the API change something: `body` as JSON, where there is one. Throws with the sentence of its error. */
export const change = (address, method, body) => json(address, { method, ...(body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }) });

/** Say how the page follows what changes, where it has a place for that. */
export function tellLive(text) {
  const state = one("#live-state");
  if (!state) return;
  state.classList.toggle("good", text === "live");
  const told = text === "live" ? "● live" : visible(text);
  if (state.textContent !== told) state.textContent = told;
}

/** Say something to everyone, for a moment. */
export function say(text) {
  const said = one("#said");
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 2500);
}

/** `call` once, `ms` after the first of many calls, and never before it has ended: what it shows is never the older answer. */
export function gathered(call, ms) {
  let timer = null;
  let isBusy = false;
  let isAsked = false;
  return function wanted() {
    if (isBusy) { isAsked = true; return; }
    timer ??= setTimeout(async () => {
      timer = null;
      isBusy = true;
      try { await call(); } finally { isBusy = false; }
      if (isAsked) { isAsked = false; wanted(); }
    }, ms);
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

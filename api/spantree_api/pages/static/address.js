// What a page shows is in its address, so that it can be sent to somebody.

/** The part `name` of the address as it is by now; null where there is none. */
export const part = (name) => new URL(location.href).searchParams.get(name);

/** Have the address say it, or no more; `how`: "replace", or "push" for what the browser goes back to. */
export function tellPart(name, value, how = "replace") {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  if (address.href !== location.href) history[`${how}State`](history.state, "", address);
}

// What a browser keeps of how somebody wants pages; it may keep nothing.

export const stored = {
  get(key) { try { return localStorage.getItem(`spantree.${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`spantree.${key}`, value); } catch { /* not kept, then */ } },
};

/** Whether keys of one letter do something: for who speaks or strikes keys by mistake they are in the way. */
export const lettersCount = () => stored.get("letters") !== "off";

// @ts-check
/** What the page remembers over a reload. A browser that forbids storage gets a page that forgets, not one that fails. */

/** @type {Map<string, string>} */
const forgetful = new Map();

/** @param {"localStorage" | "sessionStorage"} where @param {string} name @returns {string | null} */
export function recall(where, name) {
  try {
    return globalThis[where].getItem(name);
  } catch {
    return forgetful.get(where + name) ?? null; // storage is switched off
  }
}

/** An empty value is forgotten. @param {"localStorage" | "sessionStorage"} where @param {string} name @param {string} value */
export function remember(where, name, value) {
  try {
    if (value === "") globalThis[where].removeItem(name);
    else globalThis[where].setItem(name, value);
  } catch {
    forgetful.set(where + name, value); // switched off or full
  }
}

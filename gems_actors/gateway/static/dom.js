// Builds elements. Every text goes through textContent: what prompts and models say is never markup.

const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const HARMLESS = "\n\t\u200d";

/** Returns a text in which control characters and marks that turn its direction are visible. */
export function shown(value) {
  return String(value ?? "").replace(UNSAFE, (char) => (HARMLESS.includes(char) ? char : "\ufffd"));
}

/** Returns an element; children are elements, or texts. Attributes that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : shown(value));
  }
  append(element, children);
  return element;
}

/** Appends elements and texts; nothing for null and false. */
export function append(element, children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false && child !== "") {
      element.append(child instanceof Node ? child : shown(child));
    }
  }
}

/** Returns a bar of a share from 0 to 1; its number must stand next to it. */
export function bar(share) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  for (const [name, value] of Object.entries({ class: "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  for (const [kind, width] of [["track", 100], ["share", 100 * Math.min(1, share)]]) {
    const rect = document.createElementNS(namespace, "rect");
    rect.setAttribute("class", kind);
    rect.setAttribute("width", width);
    rect.setAttribute("height", 8);
    svg.append(rect);
  }
  return svg;
}

const BADGES = { met: "✓", unmet: "✗", unsure: "?", chosen: "" };

/** Returns a word that says how something stands, with a sign in addition to its colour. */
export function badge(kind, text) {
  return el("span", { class: `badge ${kind}` }, `${BADGES[kind]} ${text}`.trim());
}

/** Returns a moment in the reader's own time. */
export function moment(seconds) {
  if (!seconds) return "";
  const date = new Date(seconds * 1000);
  return el("time", { datetime: date.toISOString() }, date.toLocaleString());
}

export const count = (number) => Number(number ?? 0).toLocaleString("en");
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

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
export const bar = (share) => lane("meter", [[0, share]]);

/** Returns a bar with parts from one share to another; numbers must stand next to it. */
export function lane(kind, parts) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  for (const [name, value] of Object.entries({ class: kind, viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  for (const [part, from, to] of [["track", 0, 1], ...parts.map(([from, to]) => ["share", from, Math.min(1, to)])]) {
    const rect = document.createElementNS(namespace, "rect");
    rect.setAttribute("class", part);
    rect.setAttribute("x", 100 * from);
    rect.setAttribute("width", 100 * Math.max(0, to - from));
    rect.setAttribute("height", 8);
    svg.append(rect);
  }
  return svg;
}

/** Returns a table that scrolls sideways by itself where it is too wide; cells are texts, elements, or `number(text)`. */
export function table(name, columns, rows) {
  const cell = (tag, attributes, content) => (content?.isNumber
    ? el(tag, { ...attributes, class: "number" }, content.text) : el(tag, attributes, content));
  return el("div", { class: "panel scroll", tabindex: 0, role: "region", "aria-label": name }, el("table", {},
    el("thead", {}, el("tr", {}, columns.map((column) => (column ? cell("th", { scope: "col" }, column) : el("td", {}))))),
    el("tbody", {}, rows.map(([first, ...others]) => el("tr", {}, el("th", { scope: "row" }, first), others.map((content) => cell("td", {}, content)))))));
}

export const number = (text) => ({ isNumber: true, text });
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

/** Renders again; the element that has the focus keeps it by its name, and how far it was scrolled. */
export function keepingPlace(place, renderAll) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const [name, left] = [focused?.getAttribute("aria-label"), focused?.scrollLeft];
  renderAll();
  const next = name && place.querySelector(`[aria-label="${CSS.escape(name)}"]`);
  if (next) {
    next.focus({ preventScroll: true });
    next.scrollLeft = left;
  }
}

/** Returns figures with their names, side by side. */
export const figures = (pairs) =>
  el("dl", { class: "figures" }, pairs.map(([term, ...value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));

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

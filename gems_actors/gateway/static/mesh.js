// The mesh as the router sees it, again every two seconds.

import { get } from "/static/api.js";
import { rateChart } from "/static/chart.js";
import { bar, badge, count, el } from "/static/dom.js";

const POLL_MS = 2000;

/** Shows roles, their queues and their actors. */
export async function meshView({ place, signal, setConnected, ready }) {
  const [figures, body] = [el("div"), el("div")];
  const images = rateChart("Images a minute");
  place.replaceChildren(el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Mesh")), figures, images.element, body);
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    try {
      const mesh = await get("/v1/gems/mesh", signal);
      figures.replaceChildren(...figuresOf(mesh));
      keepingPlace(body, () => render(body, mesh));
      images.add(Date.now() / 1000, mesh.roles.find((role) => role.role === "generator")?.totals.calls ?? 0);
      setConnected(true);
    } catch (error) {
      if (isFirst || signal.aborted) throw error;
      setConnected(false);
    }
    ready();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Renders the tables anew; the one that has the focus keeps it, and how far it was scrolled. */
function keepingPlace(body, renderAll) {
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const [label, left] = [focused?.getAttribute("aria-label"), focused?.scrollLeft];
  renderAll();
  const next = label && body.querySelector(`[aria-label="${CSS.escape(label)}"]`);
  if (next) {
    next.focus({ preventScroll: true });
    next.scrollLeft = left;
  }
}

function figuresOf(mesh) {
  const figures = [
    ["Up for", duration(mesh.uptime_s)], ["Clients", count(mesh.clients)], ["Requests handed out again", count(mesh.requeued)],
    ["Paused runs", count(mesh.paused_runs)], ["Restarts", count(mesh.roles.reduce((sum, role) => sum + role.restarts, 0))],
  ];
  const notes = mesh.roles.flatMap((role) => role.actors.filter((actor) => actor.note).map((actor) => [actor.name, actor.note]));
  return [
    el("dl", { class: "figures" }, figures.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)))),
    ...notes.map(([name, note]) => el("p", { class: "notice" }, `${name}: ${note}`)),
  ];
}

function render(body, mesh) {
  body.replaceChildren(
    el("section", {}, el("h2", {}, "Roles"), table("Roles",
      ["Role", "Busy", "", "Queued", "Oldest", "Restarts"], mesh.roles.map((role) => [
        role.role, role.capacity ? `${role.busy} of ${role.capacity}` : badge("unmet", "none ready"),
        bar(role.capacity ? role.busy / role.capacity : 0), count(role.queued + role.paused), role.queued ? `${role.oldest_s.toFixed(1)} s` : "–",
        count(role.restarts)]))),
    el("section", {}, el("h2", {}, "Actors"), table("Actors",
      ["Actor", "Host", "Process", "Busy", "Handled", "Silent"], mesh.roles.flatMap((role) => role.actors.map((actor) => [
        actor.name, actor.host, actor.pid, `${actor.busy} of ${actor.capacity}`, count(actor.handled), `${actor.silent_s.toFixed(1)} s`])))));
}

function table(name, columns, rows) {
  return el("div", { class: "panel scroll", tabindex: 0, role: "region", "aria-label": name }, el("table", {},
    el("thead", {}, el("tr", {}, columns.map((column) => (column ? el("th", { scope: "col" }, column) : el("td", {}))))),
    el("tbody", {}, rows.map(([first, ...others]) => el("tr", {}, el("th", { scope: "row" }, first), others.map((cell) => el("td", {}, cell)))))));
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return minutes < 1 ? `${Math.floor(seconds)} s` : minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

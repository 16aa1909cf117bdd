// The mesh as the router sees it, again every two seconds; admins scale roles here, and pause runs.

import { get, send } from "/static/api.js";
import { rateChart } from "/static/chart.js";
import { badge, bar, count, el, figures, keepingPlace, number, percent, table } from "/static/dom.js";

const POLL_MS = 2000;
const POLLS_A_LIST = 3; // runs change less often, and each request counts for its token
const WINDOW = 30; // samples of the mean, a minute

/** Shows hosts, roles, their queues and actors, and unfinished runs. */
export async function meshView({ place, signal, setConnected, ready }) {
  const [head, said, body] = [el("div"), el("p", { role: "status", class: "note" }), el("div")];
  const images = rateChart("Images a minute");
  const utilisation = meanOfLastMinute();
  place.replaceChildren(el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Mesh")), head, images.element, said, body);

  let [runs, polls] = [[], 0];
  const refresh = async ({ isPoll = false } = {}) => {
    const mesh = await get("/v1/gems/mesh", signal);
    if (!isPoll || polls++ % POLLS_A_LIST === 0) runs = (await get("/v1/gems/runs", signal)).runs;
    head.replaceChildren(...headOf(mesh));
    const shares = utilisation(mesh.roles);
    keepingPlace(body, () => body.replaceChildren(...sectionsOf(mesh, runs, shares, act)));
    images.add(Date.now() / 1000, mesh.roles.find((role) => role.role === "generator")?.totals.calls ?? 0);
    setConnected(true);
  };
  const act = async (path, change, describe) => {
    try {
      said.textContent = describe(await (await send(path, { method: "POST", body: change })).json());
      await refresh();
    } catch (error) {
      said.textContent = `Not done: ${error.message}`;
    }
  };
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    try {
      if (isFirst || !document.hidden) await refresh({ isPoll: true });
    } catch (error) {
      if (isFirst || signal.aborted) throw error;
      setConnected(false);
    }
    ready();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Returns a function that notes the busy share of each role, and returns the means of the last minute. */
function meanOfLastMinute() {
  const seen = new Map();
  return (roles) => new Map(roles.map((role) => {
    const shares = seen.get(role.role) ?? [];
    shares.push(role.capacity ? role.busy / role.capacity : 0);
    if (shares.length > WINDOW) shares.shift();
    seen.set(role.role, shares);
    return [role.role, shares.reduce((sum, share) => sum + share, 0) / shares.length];
  }));
}

function headOf(mesh) {
  const notes = mesh.roles.flatMap((role) => role.actors.filter((actor) => actor.note).map((actor) => [actor.name, actor.note]));
  return [
    figures([
      ["Up for", duration(mesh.uptime_s)], ["Clients", count(mesh.clients)], ["Requests handed out again", count(mesh.requeued)],
      ["Paused runs", count(mesh.paused_runs)], ["Restarts", count(mesh.roles.reduce((sum, role) => sum + role.restarts, 0))],
    ]),
    ...notes.map(([name, note]) => el("p", { class: "notice" }, `${name}: ${note}`)),
  ];
}

function sectionsOf(mesh, runs, shares, act) {
  const unfinished = runs.filter((run) => run.running > 0 || run.phase === "paused");
  return [
    el("section", {}, el("h2", {}, "Roles"), table("Roles",
      ["Role", "Busy", "Last minute", "", number("Queued"), number("Oldest"), number("Restarts"), "Last error", mesh.is_admin && "Actors"].filter((column) => column !== false),
      mesh.roles.map((role) => rowOfRole(role, shares.get(role.role), mesh.is_admin, act)))),
    el("section", {}, el("h2", {}, "Unfinished runs"), unfinished.length
      ? table("Unfinished runs", ["Run", number("Ended"), number("Running"), "State", "Control"], unfinished.map((run) => rowOfRun(run, act)))
      : el("p", { class: "quiet" }, "None.")),
    el("section", {}, el("h2", {}, "Hosts"), table("Hosts", ["Host", number("Actors"), "Busy", number("Load"), "Version"], mesh.hosts.map((host) => [
      host.host, number(count(host.actors)), `${host.busy} of ${host.capacity}`, number(host.load === null ? "–" : percent(host.load)), host.versions.join(", ")]))),
    el("section", {}, el("h2", {}, "Actors"), table("Actors",
      ["Actor", "Host", number("Process"), "Busy", number("Handled"), number("Silent")], mesh.roles.flatMap((role) => role.actors.map((actor) => [
        actor.name, actor.host, number(actor.pid), `${actor.busy} of ${actor.capacity}`, number(count(actor.handled)), number(`${actor.silent_s.toFixed(1)} s`)])))),
  ];
}

function rowOfRole(role, share, isAdmin, act) {
  const row = [
    role.role, role.capacity ? `${role.busy} of ${role.capacity}` : badge("unmet", "none ready"), `${percent(share)} busy`, bar(share),
    number(count(role.queued + role.paused)), number(role.queued ? `${role.oldest_s.toFixed(1)} s` : "–"), number(count(role.restarts)), errorOf(role),
  ];
  return isAdmin ? [...row, scaleButtons(role, act)] : row;
}

function errorOf(role) {
  if (role.last_error_s === null) return el("span", { class: "quiet" }, "none");
  return el("span", { class: "error" }, el("span", { class: "quiet" }, `${duration(role.last_error_s)} ago`), role.last_error && ` ${role.last_error}`);
}

function scaleButtons(role, act) {
  if (role.count === undefined) return el("span", { class: "quiet" }, count(role.actors.length));
  const scaleTo = (wanted) => act(`/v1/gems/mesh/roles/${role.role}`, { count: wanted }, (done) => `${role.role}: ${done.before} → ${done.after} actors.`);
  const button = (text, name, wanted) =>
    el("button", { type: "button", class: "small", "aria-label": name, disabled: wanted < 0, onclick: () => scaleTo(wanted) }, text);
  return el("span", { class: "row tight" },
    button("−", `One ${role.role} less`, role.count - 1), el("span", {}, count(role.count)), button("+", `One ${role.role} more`, role.count + 1));
}

function rowOfRun(run, act) {
  const link = el("a", { href: `#/run/${encodeURIComponent(run.run)}` }, run.what || run.run);
  return [link, number(`${count(run.ended)}${run.total === null ? "" : ` of ${count(run.total)}`}`), number(count(run.running)), phaseOf(run), runButtons(run, act)];
}

/** Returns a word for a run that does not simply run. */
export const phaseOf = (run) => (run.phase === "running" ? badge("unsure", "running") : badge("unmet", run.phase));

/** Returns the buttons that pause, resume and cancel a run; `act(path, change, describe)` does it. */
export function runButtons(run, act) {
  const button = (text, action, done) => el("button", {
    type: "button", class: "small", "aria-label": `${text} ${run.what || run.run}`,
    onclick: () => act(`/v1/gems/runs/${encodeURIComponent(run.run)}`, { action }, () => `${done}: ${run.what || run.run}`),
  }, text);
  return el("span", { class: "row tight" },
    run.phase === "running" ? button("Pause", "pause", "Paused") : button("Resume", "resume", "Resumed"),
    run.phase !== "cancelled" && button("Cancel", "cancel", "Cancelled"));
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return minutes < 1 ? `${Math.floor(seconds)} s` : minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

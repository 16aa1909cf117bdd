// What was drawn: runs, the trajectories of a run, and lessons that memory recalls.

import { get, showPicture } from "/static/api.js";
import { badge, count, el, moment, plural } from "/static/dom.js";

const POLL_MS = 2000;
const STATUSES = [["", "All"], ["running", "Running"], ["ended", "Ended"], ["failed", "Failed"]];

/** Shows the runs, the latest first. */
export async function runsView({ place, signal }) {
  const list = el("ul", { class: "panel list" });
  const nothing = el("p", { class: "quiet" });
  const more = await paged(list, signal, async (cursor) => {
    const page = await get(`/v1/gems/runs${cursor === null ? "" : `?before=${cursor}`}`, signal);
    return [page.runs.map(runItem), page.next];
  });
  list.hidden = !list.children.length;
  nothing.textContent = list.children.length ? "" : "Nothing was drawn yet.";
  place.replaceChildren(el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Runs")), nothing, list, more);
}

function runItem(run) {
  const total = run.total === null ? "" : ` of ${count(run.total)}`;
  return el("li", {},
    el("span", {}, el("a", { href: `#/run/${encodeURIComponent(run.run)}` }, run.what || run.run), el("br"),
      el("span", { class: "quiet" }, run.run)),
    el("span", { class: "quiet" }, `${count(run.ended)}${total} ended, ${count(run.all_met)} with all met `,
      run.failed > 0 && badge("unmet", `${count(run.failed)} failed`), run.running > 0 && badge("unsure", `${count(run.running)} running`),
      " ", moment(run.began_at)));
}

/** Shows a run and its trajectories, and again while any of them is running. */
export async function runView({ place, signal, query, setConnected }, name) {
  const status = query.get("status") ?? "";
  const path = `/v1/gems/runs/${encodeURIComponent(name)}`;
  const filter = status ? `&status=${encodeURIComponent(status)}` : "";
  const read = (cursor) => get(`${path}?after=${cursor ?? 0}${filter}`, signal);
  let run = null;
  const items = new Map(); // by trajectory: what is shown of it, and its element
  const show = (found) => {
    for (const item of found) {
      const known = items.get(item.trajectory);
      if (known?.status === item.status) continue; // its picture is on the page already
      const element = trajectoryItem(item);
      known?.element.replaceWith(element);
      if (!known) list.append(element);
      items.set(item.trajectory, { status: item.status, element });
    }
  };
  const list = el("ul", { class: "wall" });
  const more = await paged(list, signal, async (cursor) => {
    const page = await read(cursor);
    run ??= page;
    show(page.trajectories);
    return [[], page.next];
  });
  const head = el("div");
  const renderHead = () => head.replaceChildren(el("dl", { class: "figures" }, figuresOf(run).map(([term, value]) =>
    el("div", {}, el("dt", {}, term), el("dd", {}, value)))));
  renderHead();
  const here = `#/run/${encodeURIComponent(name)}`;
  place.replaceChildren(
    el("div", { class: "title" }, el("h1", { tabindex: -1 }, run.what || run.run)),
    el("p", { class: "quiet" }, `${run.run} · `, moment(run.began_at)),
    head,
    el("section", {}, el("h2", {}, "Trajectories"),
      el("nav", { "aria-label": "Status" }, el("ul", {}, STATUSES.map(([value, text]) => el("li", {},
        el("a", { href: value ? `${here}?status=${value}` : here, "aria-current": value === status && "true" }, text))))),
      el("br"), items.size ? null : el("p", { class: "quiet" }, "None."), list, more));
  refreshWhileRunning();

  async function refreshWhileRunning() {
    while (run.running > 0) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (signal.aborted) return;
      try {
        run = await read(0);
        show(run.trajectories);
        renderHead();
        setConnected(true);
      } catch {
        if (!signal.aborted) setConnected(false);
      }
    }
  }
}

function figuresOf(run) {
  return [
    ["Ended", `${count(run.ended)}${run.total === null ? "" : ` of ${count(run.total)}`}`], ["All met", count(run.all_met)],
    ["Failed", count(run.failed)], ["Running", count(run.running)], ["Images", count(run.images)],
  ];
}

function trajectoryItem(item) {
  const state = item.status === "failed" ? badge("unmet", `failed: ${item.failure}`)
    : item.status === "running" ? badge("unsure", "running")
      : !item.requirements ? badge("unsure", "nothing to check")
        : item.met === item.requirements ? badge("met", `all ${item.met} met`)
          : badge("unmet", `${item.requirements - item.met} of ${item.requirements} not met`);
  const image = el("img", { alt: "", loading: "lazy", width: 240, height: 240 }); // the prompt below it says what it is
  if (item.status === "ended") showPicture(image, `/v1/gems/trajectories/${item.trajectory}/thumbnail`);
  return el("li", { class: "panel" },
    el("a", { href: `#/trajectory/${item.trajectory}` }, item.status === "ended" && image, el("span", {}, item.prompt || item.trajectory)),
    el("span", { class: "quiet" }, state, item.rounds > 0 && ` ${plural(item.rounds, "round")}, ${plural(item.images, "image")}`));
}

/** Fills a list with the first page, and returns a button that fetches the next one. */
async function paged(list, signal, fetchPage) {
  const button = el("button", { type: "button" }, "Show more");
  let cursor = null;
  const add = async () => {
    const [items, next] = await fetchPage(cursor);
    list.append(...items);
    list.hidden = !list.children.length;
    cursor = next;
    button.hidden = next === null;
  };
  button.addEventListener("click", add);
  await add();
  return el("p", { class: "note" }, button);
}

/** Shows lessons of trajectories whose prompts are like the one searched for. */
export async function searchView({ place, signal, query }) {
  const text = query.get("q") ?? "";
  const field = el("input", { id: "q", name: "q", type: "search", required: true, maxlength: 2000, value: text });
  const results = el("section");
  const submit = (event) => {
    event.preventDefault();
    location.hash = `#/search?q=${encodeURIComponent(field.value)}`;
  };
  place.replaceChildren(
    el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Search memory")),
    el("form", { class: "panel row", role: "search", onsubmit: submit },
      el("div", { class: "grow" }, el("label", { for: "q" }, "Prompt, or words of one"), field), el("button", { class: "main" }, "Search")),
    results);
  if (!text) return;
  const { lessons } = await get(`/v1/gems/lessons?q=${encodeURIComponent(text)}`, signal);
  results.append(el("h2", {}, lessons.length ? `${plural(lessons.length, "lesson")} of similar prompts` : "No lessons of similar prompts"));
  if (lessons.length) {
    results.append(el("ul", { class: "panel list" }, lessons.map((lesson) => el("li", {},
      el("span", {}, el("a", { href: `#/trajectory/${lesson.trajectory}` }, lesson.prompt), el("br"), lesson.text),
      el("span", { class: "quiet" }, `round ${lesson.round}: ${lesson.met_before} met, then ${lesson.met_after} of ${lesson.requirements}`)))));
  }
}

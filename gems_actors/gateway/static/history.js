// What was drawn: runs, a run with its trajectories, and what memory finds for some words.

import { get, send, showPicture } from "/static/api.js";
import { badge, bar, count, el, figures, keepingPlace, moment, number, percent, plural, table } from "/static/dom.js";
import { phaseOf, runButtons } from "/static/mesh.js";
import { costTable } from "/static/trajectory.js";

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
      run.what && el("span", { class: "quiet" }, run.run)),
    el("span", { class: "quiet" }, `${count(run.ended)}${total} ended, ${count(run.all_met)} with all met `,
      run.failed > 0 && badge("unmet", `${count(run.failed)} failed`), run.running > 0 && badge("unsure", `${count(run.running)} running`),
      run.phase !== "running" && badge("unmet", run.phase), " · ", moment(run.began_at)));
}

/** Shows a run: progress, what it achieved by round and by kind, costs, failures, and its trajectories. */
export async function runView({ place, signal, query, setConnected }, name) {
  const status = query.get("status") ?? "";
  const path = `/v1/gems/runs/${encodeURIComponent(name)}`;
  const filter = status ? `&status=${encodeURIComponent(status)}` : "";
  const read = (cursor) => get(`${path}?after=${cursor ?? 0}${filter}`, signal);
  let run = null;
  let isRefreshing = false;
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
    none.hidden = items.size > 0;
  };
  const list = el("ul", { class: "wall" });
  const none = el("p", { class: "quiet" }, "None.");
  const more = await paged(list, signal, async (cursor) => {
    const page = await read(cursor);
    run ??= page;
    show(page.trajectories);
    return [[], page.next];
  });
  const [state, head, said] = [el("span", { class: "row" }), el("div"), el("p", { role: "status", class: "note" })];
  const act = async (target, change, describe) => {
    try {
      said.textContent = describe(await (await send(target, { method: "POST", body: change })).json());
      await refresh();
    } catch (error) {
      said.textContent = `Not done: ${error.message}`;
    }
    refreshWhileUnfinished();
  };
  const render = () => keepingPlace(place, () => {
    state.replaceChildren(...[run.phase !== "running" && phaseOf(run), (run.running > 0 || run.phase !== "running") && runButtons(run, act)].filter(Boolean));
    head.replaceChildren(...headOf(run, act));
  });
  const refresh = async () => {
    run = await read(0);
    show(run.trajectories);
    render();
    setConnected(true);
  };
  const here = `#/run/${encodeURIComponent(name)}`;
  place.replaceChildren(
    el("div", { class: "title" }, el("h1", { tabindex: -1 }, run.what || run.run), state),
    el("p", { class: "quiet" }, `${run.run} · `, moment(run.began_at)), said, head,
    el("section", {}, el("h2", {}, "Trajectories"),
      el("nav", { "aria-label": "Status" }, el("ul", {}, STATUSES.map(([value, text]) => el("li", {},
        el("a", { href: value ? `${here}?status=${value}` : here, "aria-current": value === status && "true" }, text))))),
      el("br"), none, list, more));
  render();
  refreshWhileUnfinished();

  async function refreshWhileUnfinished() {
    if (isRefreshing) return;
    isRefreshing = true;
    while (run.running > 0 && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (signal.aborted) return;
      try {
        await refresh();
      } catch {
        if (!signal.aborted) setConnected(false);
      }
    }
    isRefreshing = false;
  }
}

function headOf(run, act) {
  const finished = run.ended + run.failed;
  const met = run.by_round.at(-1)?.met ?? 0;
  const cost = Object.values(run.spent).reduce((sum, spent) => sum + (spent.cost ?? 0), 0);
  const total = run.total ?? finished + run.running;
  const costs = Object.entries(run.spent);
  const failures = Object.entries(run.failures);
  return [
    figures([
      ["Finished", `${count(finished)} of ${count(total)}`, total > 0 && bar(finished / total)],
      ["All met", count(run.all_met), run.ended > 0 && el("small", {}, `${percent(run.all_met / run.ended)} of ${count(run.ended)} pictures`)],
      ["Requirements met", run.requirements ? percent(met / run.requirements) : "–", run.requirements > 0 && el("small", {}, `best of all rounds, of ${count(run.requirements)}`)],
      ["Failed", count(run.failed)], ["Running", count(run.running)], ["Images", count(run.images)],
      cost > 0 && ["Cost", cost.toFixed(2)],
    ].filter(Boolean)),
    failures.length > 0 && el("section", {}, el("h2", {}, "Failures"),
      table("Failures", ["Kind", number("Trajectories")], failures.map(([code, times]) => [code, number(count(times))])),
      el("p", { class: "note" }, run.job
        ? el("button", { type: "button", "aria-label": "Retry failures", onclick: () => act(`/v1/gems/jobs/${run.job}/retry`, {}, () => "Retrying what failed.") }, `Retry ${plural(run.failed, "failure")}`)
        : el("span", { class: "quiet" }, "They are drawn again when the same command, or request with the same key, is sent again."))),
    run.by_round.length > 0 && run.requirements > 0 && el("section", { class: "columns" },
      el("div", {}, el("h2", {}, "Pass rate by round"), table("Pass rate by round", ["Round", number("Drawn by"), number("Met so far"), ""],
        run.by_round.map((round) => [`after round ${round.round}`, number(count(round.trajectories)), number(percent(round.met / run.requirements)), bar(round.met / run.requirements)]))),
      el("div", {}, el("h2", {}, "Pass rate by kind"), table("Pass rate by kind", ["Kind", number("Checked"), number("Met"), ""],
        Object.entries(run.by_kind).map(([kind, share]) => [kind, number(count(share.total)), number(percent(share.met / share.total)), bar(share.met / share.total)])))),
    costs.length > 0 && el("section", {}, el("h2", {}, "Cost"), costTable(run.spent)),
  ].filter(Boolean);
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

/** Shows what memory has for some words: trajectories whose prompts contain them, and lessons of similar prompts. */
export async function searchView({ place, signal, query }) {
  const text = query.get("q") ?? "";
  const field = el("input", { id: "q", name: "q", type: "search", required: true, maxlength: 2000, value: text });
  const results = el("div");
  const submit = (event) => {
    event.preventDefault();
    location.hash = `#/search?q=${encodeURIComponent(field.value)}`;
  };
  place.replaceChildren(
    el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Search memory")),
    el("form", { class: "panel row", role: "search", onsubmit: submit },
      el("div", { class: "grow" }, el("label", { for: "q" }, "Words of a prompt, or a whole one"), field), el("button", { class: "main" }, "Search")),
    results);
  if (!text.trim()) return;
  const wanted = encodeURIComponent(text);
  const list = el("ul", { class: "wall" });
  const heading = el("h2");
  const more = await paged(list, signal, async (cursor) => {
    const page = await get(`/v1/gems/history?q=${wanted}${cursor === null ? "" : `&before=${cursor}`}`, signal);
    return [page.trajectories.map(trajectoryItem), page.next];
  });
  heading.textContent = list.children.length ? "Pictures with all of these words, the latest first" : "No prompt has all of these words";
  results.append(el("section", {}, heading, list, more));
  const { lessons } = await get(`/v1/gems/lessons?q=${wanted}`, signal);
  results.append(el("section", {},
    el("h2", {}, lessons.length ? `${plural(lessons.length, "lesson")} of similar prompts` : "No lessons of similar prompts"),
    lessons.length > 0 && el("ul", { class: "panel list" }, lessons.map((lesson) => el("li", {},
      el("span", {}, el("a", { href: `#/trajectory/${lesson.trajectory}` }, lesson.prompt), el("br"), lesson.text),
      el("span", { class: "quiet" }, `round ${lesson.round}: ${lesson.met_before} met, then ${lesson.met_after} of ${lesson.requirements}`))))));
}

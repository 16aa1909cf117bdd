// The form that draws, and a job while it is drawn.

import { follow, get, send } from "/static/api.js";
import { badge, el, keepingPlace, moment, plural } from "/static/dom.js";
import { renderRounds, standing } from "/static/trajectory.js";

const MAX_PICTURES = 16;
const MAX_PICTURES_MIB = 45; // the gateway takes 64 MiB, of which base64 costs a quarter

/** Shows the form, and the latest jobs. */
export async function drawView({ place, signal }) {
  const [models, jobs] = await Promise.all([get("/v1/models", signal), get("/v1/gems/jobs", signal)]);
  const ids = models.data.map((model) => model.id);
  const chosen = ids.find((id) => id.endsWith("+gems")) ?? ids[0];
  place.replaceChildren(
    el("div", { class: "title" }, el("h1", { tabindex: -1 }, "Draw")),
    formOf(ids, chosen),
    el("section", {}, el("h2", {}, "Latest jobs"), jobs.data.length ? listOf(jobs.data) : el("p", { class: "quiet" }, "None yet.")),
  );
}

function formOf(models, chosen) {
  const problem = el("p", { class: "problem", role: "alert" });
  const button = el("button", { class: "main" }, "Draw");
  const field = (id, label, control) => el("div", {}, el("label", { for: id }, label), control);
  const number = (id, label, attributes) => field(id, label, el("input", { id, name: id, type: "number", inputmode: "numeric", ...attributes }));
  const select = (id, label, values, selected) =>
    field(id, label, el("select", { id, name: id }, values.map(([value, text]) => el("option", { value, selected: value === selected }, text))));
  const pictures = picturesField();
  const form = el("form", { class: "panel" },
    field("prompt", "Prompt", el("textarea", { id: "prompt", name: "prompt", required: true, maxlength: 32000,
      placeholder: "two red cats to the left of a stone dog" })),
    el("div", { class: "fields" },
      select("model", "Model", models.map((id) => [id, id]), chosen),
      select("size", "Size", [["", "configured"], ["512x512", "512 × 512"], ["768x768", "768 × 768"], ["1024x1024", "1024 × 1024"]], ""),
      number("n", "Pictures", { value: 1, min: 1, max: 10 }),
      number("rounds", "Rounds, at most", { min: 1, max: 20, placeholder: "configured" }),
      number("seed", "Seed", { min: 0, placeholder: "random" })),
    pictures.element,
    el("div", { class: "row" }, button, el("span", { class: "quiet" }, "A job goes on when this page is closed.")),
    problem);
  const key = keyOf();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      // the same key for the same form: a click that is repeated after a lost answer starts no second job
      const body = { ...bodyOf(new FormData(form)), ...await pictures.fields() };
      const answer = await send("/v1/gems/jobs", { method: "POST", body, headers: { "idempotency-key": key } });
      location.hash = `#/job/${(await answer.json()).id}`;
    } catch (error) {
      problem.textContent = `Not drawn: ${error.message}`;
      button.disabled = false;
    }
  });
  return form;
}

/** The field for pictures to draw from, with what it chose, and the fields of a job that follow from it. */
function picturesField() {
  const input = el("input", { id: "image", type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, "aria-describedby": "image-hint" });
  const strength = el("input", { id: "strength", type: "number", min: 0.05, max: 1, step: 0.05, placeholder: "of the model" });
  const list = el("ul", { class: "given" });
  const remove = el("button", { type: "button", onclick: () => { input.value = ""; render(); input.focus(); } }, "Remove pictures");
  const chosen = el("div", { hidden: true }, list, el("div", { class: "row" },
    el("div", {}, el("label", { for: "strength" }, "Strength, for image to image"), strength), remove));
  let addresses = [];
  function render() {
    for (const address of addresses) URL.revokeObjectURL(address);
    const files = [...input.files];
    addresses = files.map((file) => URL.createObjectURL(file));
    list.replaceChildren(...files.map((file, index) => el("li", {}, el("img", { src: addresses[index], alt: `Given picture ${file.name}` }))));
    chosen.hidden = files.length === 0;
  }
  input.addEventListener("change", render);
  return {
    element: el("div", { class: "pictures" }, el("label", { for: "image" }, "Pictures to start from"), input,
      el("p", { id: "image-hint", class: "quiet" }, "Up to 16 PNG, JPEG or WebP files, for image models that draw from pictures. The prompt says what changes."), chosen),
    async fields() {
      const files = [...input.files];
      if (files.length > MAX_PICTURES) throw new Error(`expected up to ${MAX_PICTURES} pictures, got ${files.length}`);
      if (files.reduce((sum, file) => sum + file.size, 0) > MAX_PICTURES_MIB * 2 ** 20) {
        throw new Error(`expected pictures of up to ${MAX_PICTURES_MIB} MiB in all, got more`);
      }
      if (!files.length) return {};
      return { image: await Promise.all(files.map(dataOf)), ...(strength.value && { strength: Number(strength.value) }) };
    },
  };
}

/** Returns the bytes of a file as a `data:` address. */
function dataOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result || "data:;base64,"));
    reader.addEventListener("error", () => reject(new Error(`expected a readable file, got ${file.name}`)));
    reader.readAsDataURL(file);
  });
}

function bodyOf(data) {
  const body = { prompt: data.get("prompt"), model: data.get("model"), n: Number(data.get("n") || 1) };
  if (data.get("size")) body.size = data.get("size");
  if (data.get("seed")) body.seed = Number(data.get("seed"));
  if (data.get("rounds")) body.gems = { rounds: Number(data.get("rounds")) };
  return body;
}

function keyOf() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing on plain http
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function listOf(jobs) {
  return el("ul", { class: "panel list" }, jobs.map((job) => el("li", {},
    el("a", { href: `#/job/${job.id}` }, job.prompt ?? job.id),
    el("span", { class: "quiet" }, `${job.counts.done} of ${job.counts.total} drawn `, statusOf(job), " · ", moment(job.created_at)))));
}

function statusOf(job) {
  if (job.status === "completed") return job.counts.failed ? badge("unsure", `${job.counts.failed} failed`) : badge("met", "done");
  return job.status === "running" ? badge("unsure", "running") : badge("unmet", job.status);
}

/** Shows a job while it is drawn; reloaded or reconnected, it goes on where it stands. */
export async function jobView({ place, signal, setConnected, ready }, id) {
  const [head, problem, body] = [el("div"), el("p", { class: "problem", role: "alert" }), el("div")];
  const pictures = new Map();
  place.replaceChildren(head, problem, body);
  const ask = async (path, method) => {
    problem.textContent = "";
    try {
      await send(path, { method, body: method === "POST" ? {} : undefined });
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const cancel = () => ask(`/v1/gems/jobs/${id}`, "DELETE");
  const retry = async () => {
    await ask(`/v1/gems/jobs/${id}/retry`, "POST");
    if (!signal.aborted && !problem.textContent) followJob().catch((error) => { if (!signal.aborted) problem.textContent = error.message; });
  };
  const download = async () => {
    const address = URL.createObjectURL(await (await send(`/v1/gems/jobs/${id}/zip`)).blob());
    el("a", { href: address, download: `${id}.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  };
  const renderHead = (job) => keepingPlace(head, () => {
    const { total, done } = job.counts;
    const button = (name, onclick) => el("button", { type: "button", "aria-label": name, onclick }, name);
    head.replaceChildren(
      el("div", { class: "title" },
        el("h1", { class: "prompt", tabindex: -1 }, total === 1 ? job.prompt : plural(total, "picture")),
        el("div", { class: "row" }, statusOf(job), job.status === "running" ? button("Cancel", cancel)
          : [done < total && button(`Retry ${plural(total - done, "picture")}`, retry), button("Download zip", download)])),
      el("p", { class: "quiet" }, `${job.model} · `, total > 1 && `${done} of ${total} drawn · `, moment(job.created_at), " · ",
        el("a", { href: `#/run/${encodeURIComponent(job.run)}` }, "its run")));
  });
  const show = ({ job, pictures: changed, trajectories }) => {
    if (!pictures.size) { // the first update has everything
      for (const [trajectory, picture] of Object.entries(changed)) pictures.set(trajectory, pictureOf(trajectory, picture, job.counts.total === 1));
      const others = job.counts.total - job.in_full;
      body.replaceChildren(...[...pictures.values()].map(({ element }) => element), others > 0
        ? el("p", { class: "note" }, `${plural(others, "further picture")}: `, el("a", { href: `#/run/${encodeURIComponent(job.run)}` }, "the whole run")) : "");
    }
    for (const [trajectory, picture] of Object.entries(changed)) pictures.get(trajectory)?.update(picture);
    for (const [trajectory, state] of Object.entries(trajectories)) pictures.get(trajectory)?.show(state);
    renderHead(job);
    ready();
    return job.status === "running";
  };
  const followJob = () => follow(`/v1/gems/jobs/${id}/view`, { signal, onConnected: setConnected, onEvent: show });
  await followJob();
}

/** One picture of a job, with what memory knows of its trajectory. */
function pictureOf(trajectory, picture, isOnly) {
  const known = new Map(); // updates have the rounds that changed
  const rounds = el("div", {}, el("p", { class: "quiet" }, "Waiting for its first round …"));
  const state = el("span");
  const problem = el("p", { class: "problem" });
  const link = el("a", { href: `#/trajectory/${trajectory}` }, "In depth");
  const element = el("article", { class: "panel trajectory" },
    el("header", {}, el("h2", {}, isOnly ? "Rounds" : picture.prompt), el("span", { class: "row" }, state, link)), problem, rounds);
  return {
    element,
    update({ error }) {
      problem.textContent = error ? `Failed: ${error.message}` : "";
    },
    show(changed) {
      if (changed.began_at === null) return; // memory does not know it yet
      for (const round of changed.rounds) known.set(round.round, round);
      const found = { ...changed, rounds: [...known.values()].sort((one, other) => one.round - other.round) };
      if (found.rounds.length || found.status === "running") {
        rounds.querySelector("p.quiet")?.remove();
        renderRounds(rounds, found);
      }
      state.replaceChildren(standing(found));
    },
  };
}

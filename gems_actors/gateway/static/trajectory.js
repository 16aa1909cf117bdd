// One trajectory in depth: its rounds side by side.

import { get, showPicture } from "/static/api.js";
import { badge, count, el, lane, moment, number, table } from "/static/dom.js";

const ANSWERS = { met: "✓", unmet: "✗", unsure: "?" };
const CHANGES = { kept: "span", added: "ins", removed: "del" };
const POLL_MS = 1000;

/** Shows a trajectory, and again while it is running. */
export async function trajectoryView({ place, signal, ready, setConnected }, id) {
  const [head, rounds, details] = [el("div"), el("div"), el("div")];
  let before = "";
  while (!signal.aborted) {
    let state;
    try {
      state = await get(`/v1/gems/trajectories/${id}`, signal);
      setConnected(true);
    } catch (error) {
      if (!before || signal.aborted || error.status === 404) throw error;
      setConnected(false);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      continue;
    }
    const now = JSON.stringify(state);
    if (now !== before) { // what has the focus stays while nothing changes
      before = now;
      head.replaceChildren(...headOf(state));
      renderRounds(rounds, state);
      details.replaceChildren(...detailsOf(state));
    }
    if (!place.children.length) place.replaceChildren(head, rounds, details);
    ready();
    if (state.status !== "running") return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function headOf(state) {
  const line = [
    `seed ${state.seed}`, `skill ${state.skill ?? "none"}`, state.decided_by && `chosen: ${state.decided_by}`,
    state.outcome && state.outcome.replaceAll("_", " "),
  ];
  return [
    el("div", { class: "title" }, el("h1", { class: "prompt", tabindex: -1 }, state.prompt), standing(state)),
    el("p", { class: "quiet" }, line.filter(Boolean).join(" · "), " · ", moment(state.began_at), " · ",
      el("a", { href: `#/run/${encodeURIComponent(state.run)}` }, "its run")),
    state.failure && el("p", { class: "notice failed" }, `Failed: ${state.failure.code}: ${state.failure.message}`),
  ].filter(Boolean);
}

/** Returns how a trajectory stands, in words. */
export function standing(state) {
  if (state.status === "failed") return badge("unmet", "failed");
  const best = state.rounds.find((round) => round.is_chosen) ?? state.rounds.at(-1);
  if (state.status === "running") return badge("unsure", `running, round ${state.rounds.length + 1}`);
  const attempt = best && leadingOf(best);
  if (!attempt || !attempt.total) return badge("unsure", "nothing to check");
  return attempt.met === attempt.total
    ? badge("met", `all ${attempt.total} met`)
    : badge("unmet", `${attempt.total - attempt.met} of ${attempt.total} not met`);
}

const leadingOf = (round) => round.attempts.find((attempt) => attempt.candidate === round.leading) ?? round.attempts[0];

/** Shows the rounds of a trajectory in a place; pictures that are there already stay, so that nothing flickers. */
export function renderRounds(place, state) {
  let list = place.querySelector("ol.rounds");
  if (!list) place.append((list = el("ol", { class: "rounds" })));
  const pictures = new Map([...list.querySelectorAll("a[data-image]")].map((link) => [link.dataset.image, link]));
  const given = (state.references ?? []).map((size, index) => givenOf(state, size, index + 1, pictures));
  const cards = [...given, ...state.rounds.map((round, index) => roundOf(state, round, index, pictures))];
  if (state.status === "running") cards.push(el("li", { class: "waiting" }, `Round ${state.rounds.length + 1} is being drawn …`));
  list.replaceChildren(...cards);
}

function givenOf(state, size, number, pictures) {
  const name = state.references.length > 1 ? `Given picture ${number}` : "Given picture";
  const path = `/v1/gems/trajectories/${state.id}/references/${number}`;
  return el("li", { class: "given", "data-given": number }, el("h2", {}, name), linkOf(path, size, `${name}, from which all rounds are drawn.`, pictures));
}

function roundOf(state, round, index, pictures) {
  const leading = leadingOf(round);
  const name = `Round ${round.round}${round.is_chosen ? ", chosen" : ""}`;
  const score = leading.total ? `${leading.met} of ${leading.total} met` : "nothing to check";
  const others = round.attempts.filter((attempt) => attempt !== leading);
  return el("li", { class: round.is_chosen && "chosen", "data-round": round.round },
    el("h2", {}, `Round ${round.round}`, round.is_chosen && badge("chosen", "Chosen")),
    pictureOf(state, leading, `${name}, for “${state.prompt.slice(0, 120)}”: ${score}.`, pictures),
    others.length > 0 && el("div", { class: "others" }, others.map((attempt) =>
      pictureOf(state, attempt, `${name}, candidate ${attempt.candidate}: ${attempt.met} of ${attempt.total} met.`, pictures))),
    el("p", { class: "score" }, score),
    checksOf(state, leading),
    el("h3", {}, round.edited
      ? `Instruction, an edit of round ${round.edited.round}`
      : index ? "Prompt, compared with the round before" : "Prompt, compared with yours"),
    el("p", { class: "words" }, round.changes.flatMap(({ change, text }) => [el(CHANGES[change], {}, text), " "])),
    round.reasoning && el("details", {}, el("summary", {}, "Why it was changed"), el("p", { class: "words" }, round.reasoning)),
    round.experience && [el("h3", {}, "Experience kept"), el("p", { class: "words" }, round.experience)],
  );
}

function pictureOf(state, attempt, text, pictures) {
  return linkOf(`/v1/gems/trajectories/${state.id}/images/${attempt.image}`, attempt, text, pictures);
}

/** Returns a picture that links to itself; one that is there already is used again. */
function linkOf(path, size, text, pictures) {
  const known = pictures.get(path);
  if (known) {
    known.firstElementChild.alt = text;
    return known;
  }
  const image = el("img", { alt: text, width: size.width_px, height: size.height_px });
  showPicture(image, path);
  return el("a", { href: path, target: "_blank", rel: "noopener", "data-image": path }, image);
}

function checksOf(state, attempt) {
  const verdicts = new Map(attempt.verdicts.map((verdict) => [verdict.requirement, verdict]));
  return el("ul", { class: "checks" }, state.requirements.map((requirement) => {
    const verdict = verdicts.get(requirement.id);
    const answer = verdict?.answer in ANSWERS ? verdict.answer : null;
    const word = answer ?? "not judged";
    return el("li", {},
      el("b", { class: answer ?? "unsure", title: word },
        el("span", { "aria-hidden": "true" }, ANSWERS[answer] ?? "·"), el("span", { class: "spoken" }, `${word}: `)),
      el("span", {}, requirement.question, verdict?.reason && el("span", { class: "reason" }, verdict.reason)),
      typeof verdict?.score === "number" && el("span", { class: "number" }, verdict.score.toFixed(2)));
  }));
}

/** Returns what the roles cost. */
export function costTable(spent) {
  const columns = [
    ["Calls", (cost) => cost.calls, count], ["Prompt tokens", (cost) => cost.prompt_tokens, count],
    ["Completion tokens", (cost) => cost.completion_tokens, count], ["Seconds", (cost) => cost.seconds, (figure) => figure.toFixed(1)],
    ["Cost", (cost) => cost.cost, (figure) => figure.toFixed(4)],
  ].filter(([, figure]) => Object.values(spent).some(figure)); // a model of our own has neither tokens nor a price
  return table("Cost", ["Role", ...columns.map(([name]) => number(name))],
    Object.entries(spent).map(([role, cost]) => [role, ...columns.map(([, figure, text]) => number(text(figure(cost) ?? 0)))]));
}

/** Returns when each role worked on the trajectory, from its beginning to its last step. */
function timeline(state) {
  const end = Math.max(...state.steps.map((step) => step.ended_at));
  const from = Math.min(state.began_at, ...state.steps.map((step) => step.began_at));
  const length = Math.max(end - from, 0.001);
  const lanes = new Map();
  for (const step of state.steps) lanes.set(step.role, [...(lanes.get(step.role) ?? []), step]);
  const place = (at) => (at - from) / length;
  const rows = [...lanes].map(([role, steps]) => [
    role, lane("lane", steps.map((step) => [place(step.began_at), Math.max(place(step.ended_at), place(step.began_at) + 0.004)])),
    number(count(steps.length)), number(`${steps.reduce((sum, step) => sum + step.seconds, 0).toFixed(1)} s`),
  ]);
  return el("section", {}, el("h2", {}, `Time line: ${length.toFixed(1)} s`), table("Time line", ["Role", "When", number("Steps"), number("Worked")], rows));
}

function detailsOf(state) {
  const settings = Object.entries(state.settings).filter(([, value]) => value !== null);
  return [
    state.steps?.length > 0 && timeline(state),
    Object.keys(state.spent).length > 0 && el("section", {}, el("h2", {}, "Cost"), costTable(state.spent)),
    el("section", {}, el("h2", {}, "Settings"), el("dl", { class: "panel settings" },
      settings.map(([name, value]) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, { true: "yes", false: "no" }[value] ?? value))))),
    state.reasoning && el("section", {}, el("h2", {}, "The planner's reasoning"), el("p", { class: "panel" }, state.reasoning)),
  ].filter(Boolean);
}


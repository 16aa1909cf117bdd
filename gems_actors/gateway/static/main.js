// Chooses the view by the part of the address after `#`, so that every view can be reloaded and linked to.

import { ApiError, ConnectionLost, setToken } from "/static/api.js";
import { el } from "/static/dom.js";
import { drawView, jobView } from "/static/draw.js";
import { runsView, runView, searchView } from "/static/history.js";
import { meshView } from "/static/mesh.js";
import { trajectoryView } from "/static/trajectory.js";

const VIEWS = [
  [/^\/?$/, drawView],
  [/^\/job\/(job-[0-9a-f]{24})$/, jobView],
  [/^\/runs$/, runsView],
  [/^\/run\/([^/?]+)$/, runView],
  [/^\/trajectory\/([0-9a-f]{32})$/, trajectoryView],
  [/^\/search$/, searchView],
  [/^\/mesh$/, meshView],
];

const RETRY_MS = 1000;
const main = document.getElementById("main");
const connection = document.getElementById("connection");
let current = new AbortController();

/** Shows the view of the address; what the last one was waiting for is given up. */
async function show({ isFirst = false } = {}) {
  if (location.hash === "#main") return;
  current.abort();
  const { signal } = (current = new AbortController());
  const [path, query = ""] = location.hash.slice(1).split("?");
  connection.textContent = "";
  mark(path);
  for (const [pattern, view] of VIEWS) {
    const match = pattern.exec(path);
    if (!match) continue;
    const place = el("div");
    main.replaceChildren(place);
    let isReady = false;
    const ready = () => {
      if (!isReady && !signal.aborted) focusTitle(!isFirst);
      isReady = true;
    };
    const context = { place, signal, query: new URLSearchParams(query), setConnected, ready };
    for (let isDone = false; !isDone && !signal.aborted;) {
      try {
        await view(context, ...match.slice(1).map(decodeURIComponent));
        isDone = true;
        if (!signal.aborted) setConnected(true);
      } catch (error) {
        isDone = !(error instanceof ConnectionLost);
        if (signal.aborted) return;
        setConnected(isDone);
        if (isDone) place.replaceChildren(...problem(error));
        else await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    ready(); // unless a view that goes on for long has said so itself
    return;
  }
  main.replaceChildren(el("h1", { tabindex: -1 }, "Not found"), el("p", {}, "There is no such view."));
}

function mark(path) {
  const section = { "": "#/", "/": "#/" }[path] ?? `#/${path.split("/")[1].replace(/^(run|trajectory)$/, "runs").replace(/^job$/, "")}`;
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.getAttribute("href") === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function focusTitle(takesFocus) {
  const title = main.querySelector("h1");
  if (title) {
    document.title = `${title.textContent.slice(0, 60)} – gems-actors`;
    if (takesFocus) title.focus();
  }
}

function setConnected(isConnected) {
  connection.textContent = isConnected ? "" : "Connection lost, trying again …";
}

function problem(error) {
  if (error instanceof ApiError && error.status === 401) return [tokenForm()];
  return [el("h1", { tabindex: -1 }, "That did not work"), el("p", { role: "alert", class: "problem" }, error.message)];
}

function tokenForm() {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    show();
  };
  return el("form", { class: "panel", onsubmit: submit },
    el("h1", { tabindex: -1 }, "Token needed"),
    el("p", { class: "quiet" }, "Ask the operator of this gateway for one. It is kept until this tab is closed."),
    el("div", { class: "fields" }, el("div", {}, el("label", { for: "token" }, "Token"), field)),
    el("button", { class: "main" }, "Continue"));
}

addEventListener("hashchange", () => show());
show({ isFirst: true });

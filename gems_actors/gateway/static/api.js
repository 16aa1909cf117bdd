// Asks the gateway that the page came from, and no other server.

const TOKEN = "gems-token";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The gateway did not answer; it may have been replaced a moment ago. */
export class ConnectionLost extends Error {}

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;
export const setToken = (token) => sessionStorage.setItem(TOKEN, token);

/** Sends a request and returns the answer; one that failed is an ApiError. */
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const given = { ...headers, ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(path, { method, headers: given, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    throw signal?.aborted ? error : new ConnectionLost("the gateway does not answer");
  }
  if (answer.ok) return answer;
  let message = `expected an answer, got status ${answer.status}`;
  try {
    message = (await answer.json()).error.message;
  } catch { /* not an answer of the gateway itself */ }
  throw new ApiError(answer.status, message);
}

export const get = async (path, signal) => (await send(path, { signal })).json();

/** Shows a picture in an `img`. With a token, which `src` cannot carry, the picture is fetched. */
export async function showPicture(image, path) {
  if (!hasToken()) {
    image.src = path;
    return;
  }
  try {
    const address = URL.createObjectURL(await (await send(path)).blob());
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch { /* its alternative text says what it is */ }
}

/**
 * Calls `onEvent(data)` for the events of a stream until one is the last, for which it returns false, and the stream is
 * over. A connection that is lost is made again, and then begins with everything; `onConnected(isConnected)` says so.
 */
export async function follow(path, { onEvent, onConnected, signal }) {
  let delay = 500;
  let isMore = true;
  while (!signal.aborted) {
    try {
      const answer = await send(path, { signal });
      onConnected(true);
      delay = 500;
      for await (const event of events(answer.body)) {
        if (event.name === "error") throw new Error(JSON.parse(event.data).error.message);
        isMore = onEvent(JSON.parse(event.data));
      }
      if (!isMore) return;
    } catch (error) {
      if (signal.aborted || (error instanceof ApiError && error.status < 500 && error.status !== 429)) throw error;
    }
    onConnected(false);
    await new Promise((resolve) => setTimeout(resolve, delay));
    delay = Math.min(2 * delay, 5000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      if (event.data) yield event;
    }
  }
}

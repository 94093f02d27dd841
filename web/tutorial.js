// @ts-check
/**
 * The page of the tutorial that this backend stays compatible with: tokens are appended to a log as they arrive.
 *
 * It shows the bare wire and nothing of what the chat page does on top: only argument 1 of `token` is used, and what the
 * transport loses stays lost. `withUrl(base + "/api")` asks `/api/negotiate` at every (re)connect, so a token that has
 * expired after its hour is replaced; a page that keeps the first token for ever does not come back.
 */

export {}; // a module, so that its names are its own

const RETRY_MS = 2000;

/** @type {any} */
const signalR = /** @type {any} */ (globalThis).signalR;
const form = /** @type {HTMLFormElement} */ (document.querySelector("form"));
const log = /** @type {HTMLElement} */ (document.querySelector(".log"));
const status = /** @type {HTMLElement} */ (document.querySelector(".connection"));
const base = /** @type {HTMLInputElement} */ (form.elements.namedItem("base"));
const prompt = /** @type {HTMLInputElement} */ (form.elements.namedItem("prompt"));
const clear = /** @type {HTMLButtonElement} */ (form.elements.namedItem("clear"));

/** @type {{base: string, connection: any, started: Promise<void>} | null} */
let current = null;

/** @param {string} text */
function append(text) {
  log.append(text); // as text, never as HTML
}

function baseUrl() {
  return base.value.trim().replace(/\/+$/, "");
}

/** The connection to the base URL that is in the box, made when it is first needed or has changed. */
function connect() {
  const wanted = baseUrl();
  if (current?.base === wanted) return current.started;
  void current?.connection.stop();
  const connection = new signalR.HubConnectionBuilder()
    .withUrl(`${wanted}/api`)
    .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => RETRY_MS })
    .configureLogging(signalR.LogLevel.None)
    .build();
  connection.on("token", (/** @type {string} */ text) => append(text));
  connection.onreconnecting(() => (status.textContent = "reconnecting"));
  connection.onreconnected(() => (status.textContent = "connected"));
  connection.onclose(() => (status.textContent = "disconnected"));
  status.textContent = "connecting";
  const started = connection.start().then(
    () => void (status.textContent = "connected"),
    (/** @type {Error} */ error) => {
      current = null; // the next Send tries again
      status.textContent = "disconnected";
      throw error;
    },
  );
  current = { base: wanted, connection, started };
  return started;
}

/** @param {string} text */
async function send(text) {
  append(`>> ${text}\n\n`);
  try {
    await connect();
    const response = await fetch(`${baseUrl()}/api/chat_stream`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      credentials: "include",
      body: JSON.stringify({ prompt: text }),
    });
    if (!response.ok) append(`\n[HTTP ${response.status}] ${await response.text()}\n`);
  } catch (error) {
    append(`\n[error] ${error instanceof Error ? error.message : error}\n`);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void send(prompt.value);
});
clear.addEventListener("click", () => log.replaceChildren());
base.value = location.origin;
connect().catch((/** @type {Error} */ error) => append(`[error] ${error.message}\n`));

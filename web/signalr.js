// @ts-check
/**
 * The SignalR connection: the fast way for frames, and never the only one.
 *
 * The client's browser file is not a module, so it is loaded as a script when the page first wants a connection; the
 * text does not wait for it. Every start negotiates anew: access tokens live for an hour, and a page is open for longer.
 * Hence one loop instead of the client's own automatic reconnect, which does not cover a first start that failed.
 */

const SCRIPT = new URL("./vendor/signalr.min.js", import.meta.url).href;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** SignalR target -> kind of record in the journal. */
const KINDS = /** @type {const} */ ({ turnRestarted: "restart", turnRedacted: "redact", turnWaiting: "wait", turnEnded: "end" });

/**
 * @typedef {import("./turn-text.js").TurnRecord & {turnId: string, conversationId: string}} AddressedRecord
 * @param {{onRecord: (record: AddressedRecord) => void, onTurnStarted: (turn: {turnId: string, conversationId: string}) => void,
 *   onLive: (live: boolean) => void}} listeners
 */
export function openConnection({ onRecord, onTurnStarted, onLive }) {
  /** @type {() => void} */
  let wake = () => {};
  let delay = FIRST_DELAY_MS;

  function retryNow() {
    delay = FIRST_DELAY_MS;
    wake();
  }
  globalThis.addEventListener("online", retryNow);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && retryNow());

  /** @param {any} connection */
  function listen(connection) {
    // Handlers stay synchronous: the client calls them in the order of the messages and awaits none of them.
    connection.on("token", (/** @type {string} */ text, /** @type {any} */ about) => onRecord({ ...about, kind: "frame", text }));
    connection.on("turnStarted", onTurnStarted);
    for (const [target, kind] of Object.entries(KINDS)) {
      connection.on(target, (/** @type {any} */ about) => onRecord({ ...about, kind }));
    }
  }

  async function connectOnce() {
    const signalR = await loadSignalR();
    const connection = new signalR.HubConnectionBuilder()
      .withUrl("/api", { withCredentials: false }) // our own negotiate still gets the session cookie, the service does not
      .configureLogging(signalR.LogLevel.None)
      .build();
    listen(connection);
    const closed = new Promise((resolve) => connection.onclose(resolve));
    await connection.start();
    delay = FIRST_DELAY_MS;
    onLive(true);
    await closed;
  }

  async function connectForEver() {
    for (;;) {
      try {
        await connectOnce();
      } catch {
        // Not an error of the page: polling carries the text, and the status line says what is going on.
      }
      onLive(false);
      const pause = delay * (0.5 + Math.random() / 2); // jitter: a restarted service is not met by all pages at once
      delay = Math.min(delay * 2, LONGEST_DELAY_MS);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, pause);
        wake = () => (clearTimeout(timer), resolve(undefined));
      });
    }
  }
  void connectForEver();
}

/** @type {Promise<any> | null} */
let loading = null;

/** @returns {Promise<any>} */
function loadSignalR() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SCRIPT;
    script.onload = () => resolve(/** @type {any} */ (globalThis).signalR);
    script.onerror = () => {
      loading = null; // the next try may find it
      script.remove();
      reject(new Error("The SignalR client could not be loaded."));
    };
    document.head.append(script);
  });
  return loading;
}

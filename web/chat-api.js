// @ts-check
/**
 * The chat's HTTP API, one function per route. What goes wrong becomes an `ApiError` with the server's code and sentence,
 * or a `NetworkError` when there was no answer at all: only then may the same request have been carried out.
 */

/** @typedef {import("./turn-text.js").TurnRecord} TurnRecord */
/** @typedef {import("./conversation-state.js").Message} Message */

const PATIENCE_MS = 30_000; // then the request counts as lost
const OVERDUE_MS = 2500; // beyond the wait that was asked for; by then a server that is well has answered

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number | null} retryAfter seconds */
  constructor(status, code, message, retryAfter) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export class NetworkError extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super("The server could not be reached.", { cause });
    this.name = "NetworkError";
  }
}

/**
 * @param {{fetch?: typeof fetch, onReachable?: (reachable: boolean) => void, onOverdue?: () => void}} [options]
 *   onOverdue: an answer is due and has not come; the next `onReachable` says what became of it
 */
export function createChatApi({ fetch: send = globalThis.fetch.bind(globalThis), onReachable = () => {}, onOverdue = () => {} } = {}) {
  /** @param {string} path @param {RequestInit} [init] @param {number} [wait] seconds that the server may take on purpose */
  async function request(path, init = {}, wait = 0) {
    let response;
    let body;
    const due = setTimeout(onOverdue, wait * 1000 + OVERDUE_MS);
    try {
      response = await send(path, {
        credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...init,
      });
      body = await response.text();
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error; // we no longer want the answer
      onReachable(false);
      throw new NetworkError(error);
    } finally {
      clearTimeout(due);
    }
    // A gateway in front of a server that is down answers too; it does not make the server reachable.
    onReachable(![502, 503, 504].includes(response.status));
    const json = parse(body);
    if (response.ok && json !== null) return json;
    throw apiError(response, json);
  }

  return {
    /** @param {string} conversationId @param {{prompt: string, idempotencyKey: string}} turn @returns {Promise<{turnId: string}>} */
    startTurn(conversationId, { prompt, idempotencyKey }) {
      return request(`/api/conversations/${encodeURIComponent(conversationId)}/turns`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
        body: JSON.stringify({ prompt }),
      });
    },

    /** Ends a turn; what was shown of it stays. @param {string} turnId @returns {Promise<{status: string}>} */
    stopTurn(turnId) {
      // Also from a page that is being left: whoever pressed Stop has said so.
      return request(`/api/turns/${encodeURIComponent(turnId)}/stop`, { method: "POST", keepalive: true });
    },

    /** @param {string} turnId @returns {Promise<{status: string, error: import("./turn-text.js").TurnError | null}>} */
    turnStatus(turnId) {
      return request(`/api/turns/${encodeURIComponent(turnId)}`);
    },

    /**
     * @param {string} turnId @param {{after: string | number | null, wait: number, signal?: AbortSignal}} from
     * @returns {Promise<{frames: TurnRecord[], next: string | number, ended: boolean}>}
     */
    frames(turnId, { after, wait, signal }) {
      const query = new URLSearchParams();
      if (after !== null) query.set("after", String(after));
      if (wait > 0) query.set("wait", String(wait));
      const question = query.size > 0 ? `?${query}` : "";
      return request(`/api/turns/${encodeURIComponent(turnId)}/frames${question}`, { signal }, wait);
    },

    /**
     * The conversation, read from its newest page back to the first turn that the caller knows, or else to its beginning.
     * One that does not exist yet is empty.
     * @param {string} conversationId @param {(turnId: string) => boolean} isKnown
     * @returns {Promise<{title: string | null, messages: Message[]}>}
     */
    async conversation(conversationId, isKnown) {
      const path = `/api/conversations/${encodeURIComponent(conversationId)}`;
      /** @type {any} */
      const newest = await request(path).catch(emptyIfUnknown);
      /** @type {Message[]} */
      let messages = newest.messages;
      let before = newest.next ?? null;
      while (before !== null && !messages.some(({ turnId }) => turnId && isKnown(turnId))) {
        /** @type {any} */
        const page = await request(`${path}?${new URLSearchParams({ before: String(before) })}`);
        messages = [...page.messages, ...messages];
        before = page.next ?? null;
      }
      return { title: newest.title ?? null, messages };
    },
  };
}

/** @typedef {ReturnType<typeof createChatApi>} ChatApi */

/** @param {unknown} error */
function emptyIfUnknown(error) {
  if (error instanceof ApiError && error.status === 404) return { messages: [], title: null, next: null };
  throw error;
}

/** @param {string} body */
function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null; // a gateway's page, or an answer that was cut off: treated as an error by its status
  }
}

/** @param {Response} response @param {any} json */
function apiError(response, json) {
  const told = json?.error ?? {};
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return new ApiError(
    response.ok ? 502 : response.status,
    told.code ?? `http_${response.status}`,
    told.message ?? "The server gave an answer that this page does not understand.",
    Number.isFinite(retryAfter) ? retryAfter : null,
  );
}

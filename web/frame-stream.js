// @ts-check
/**
 * One stream of records for each turn that runs, out of three sources: SignalR, catching up, and polling.
 *
 * Theory of operation. A follower reads the turn's journal over HTTP. While SignalR is down it long-polls, so that text
 * never waits for SignalR. While SignalR is up it reads once to catch up, then only when there is a reason: a gap, or two
 * seconds of silence. All sources meet in the reducer, which does not care what comes twice or in which order. A turn
 * is over when its text has the length and the hash that its end names; a text that has not is read again from the start.
 */
import { ApiError, NetworkError } from "./chat-api.js";
import { EMPTY_TEXT, applyRecord, hasGap, isWhole } from "./turn-text.js";

const LONG_POLL_SECONDS = 5; // no longer: until then nobody knows whether the model is silent or the server
// Beyond the wait that was asked for; then the request counts as lost. A server whose storage is slow gets more each time.
const REQUEST_GRACE_SECONDS = 5;
const LONGEST_GRACE_SECONDS = 20;
const SILENCE_MS = 2000;
const GAP_MS = 60; // a reordered message is usually here within this time
const RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const IDLE_POLL_MS = 300; // between two polls if a server answers an empty long poll at once
const READINGS = 3;

const DAMAGED = { code: "damaged", message: "This answer arrived damaged and could not be repaired." };

/**
 * @typedef {import("./turn-text.js").TurnRecord} TurnRecord
 * @typedef {import("./turn-text.js").TurnText} TurnText
 * @typedef {import("./conversation-state.js").Problem} Problem
 * @typedef {{getText: (turnId: string) => TurnText | null, onRecord: (turnId: string, record: TurnRecord) => void,
 *   onCaughtUp: (turnId: string) => void, onReplaced: (turnId: string, text: TurnText) => void,
 *   onWhole: (turnId: string) => void, onLost: (turnId: string, problem: Problem) => void}} Listeners
 * @typedef {{turnId: string, after: string | number | null, heardAt: number, gapDelay: number, settling: boolean,
 *   over: AbortController, asking: AbortController, wake: () => void}} Follower
 * @param {Listeners & {api: import("./chat-api.js").ChatApi}} parts
 */
export function createFrameStream({ api, getText, onRecord, onCaughtUp, onReplaced, onWhole, onLost }) {
  /** @type {Map<string, Follower>} */
  const followers = new Map();
  let live = false;

  /** @param {string} turnId */
  function follow(turnId) {
    if (followers.has(turnId)) return;
    /** @type {Follower} */
    const follower = {
      turnId, after: null, heardAt: performance.now(), gapDelay: GAP_MS, settling: false, over: new AbortController(),
      asking: new AbortController(), wake: () => {},
    };
    followers.set(turnId, follower);
    void read(follower);
  }

  /** @param {Follower} follower */
  function leave(follower) {
    followers.delete(follower.turnId);
    follower.over.abort();
    follower.wake();
  }

  /** SignalR brought something for this turn, and the reducer has it. @param {string} turnId */
  function heard(turnId) {
    const follower = followers.get(turnId);
    const text = getText(turnId);
    if (!follower || text === null) return;
    follower.heardAt = performance.now();
    if (isWhole(text)) void settle(follower);
    else if (hasGap(text)) follower.wake();
  }

  /** The network is another one, or the page was asleep: what was asked may never be answered, so ask again now. */
  function askAgain() {
    for (const follower of followers.values()) {
      follower.asking.abort();
      follower.wake();
    }
  }

  /** There is news in the journal, though SignalR may not have told of it. @param {string} turnId */
  function readNow(turnId) {
    const follower = followers.get(turnId);
    if (!follower) return;
    follower.heardAt = performance.now() - SILENCE_MS;
    follower.wake();
  }

  /** @param {boolean} isLive */
  function setLive(isLive) {
    if (live === isLive) return;
    live = isLive;
    for (const follower of followers.values()) follower.wake();
  }

  /** @param {Follower} follower */
  async function read(follower) {
    let failures = 0;
    while (!follower.over.signal.aborted) {
      try {
        await readOnce(follower, failures);
        failures = 0;
      } catch (error) {
        if (follower.over.signal.aborted) return;
        if (follower.asking.signal.aborted) continue;
        const pause = pauseAfter(error, failures);
        if (pause === null) return lose(follower, /** @type {ApiError} */ (error));
        failures += 1;
        await rest(follower, pause);
      }
    }
  }

  /** @param {Follower} follower @param {number} failures of the tries before */
  async function readOnce(follower, failures) {
    const wait = live || follower.after === null ? 0 : LONG_POLL_SECONDS;
    const askedAt = performance.now();
    const page = await api.frames(follower.turnId, { after: follower.after, wait, signal: patience(follower, wait, failures) });
    if (follower.over.signal.aborted) return;
    const first = follower.after === null;
    for (const record of page.frames) onRecord(follower.turnId, record);
    follower.after = page.next;
    if (page.frames.length > 0) follower.heardAt = performance.now();
    if (first) onCaughtUp(follower.turnId);
    const text = getText(follower.turnId);
    if (text === null) return leave(follower);
    if (isWhole(text)) return settle(follower);
    if (live) return restWhileLive(follower);
    const tooQuick = page.frames.length === 0 && performance.now() - askedAt < IDLE_POLL_MS;
    if (tooQuick && wait > 0) await rest(follower, IDLE_POLL_MS);
  }

  /** Until there is a reason to ask the journal although SignalR is up. @param {Follower} follower */
  async function restWhileLive(follower) {
    let resting = performance.now();
    while (live && !follower.over.signal.aborted) {
      const text = getText(follower.turnId);
      const gap = text !== null && hasGap(text);
      const due = gap ? resting + follower.gapDelay : follower.heardAt + SILENCE_MS;
      const left = due - performance.now();
      if (left <= 0) {
        // If asking did not help, the next question comes later; silence is asked about again after as long a time.
        follower.gapDelay = gap ? Math.min(follower.gapDelay * 2, SILENCE_MS) : GAP_MS;
        follower.heardAt = performance.now();
        return;
      }
      await rest(follower, left);
      if (!gap) [resting, follower.gapDelay] = [performance.now(), GAP_MS];
    }
  }

  /** The end is here: is the text the one that it names? @param {Follower} follower */
  async function settle(follower) {
    if (follower.settling) return waitUntilOver(follower);
    follower.settling = true;
    for (let reading = 0; reading < READINGS && !follower.over.signal.aborted; reading += 1) {
      const text = getText(follower.turnId);
      if (text !== null && (await isAuthentic(text))) {
        onWhole(follower.turnId);
        return leave(follower);
      }
      if (reading > 0) await rest(follower, RETRY_MS * reading);
      await readAgain(follower);
    }
    const text = getText(follower.turnId);
    if (text !== null && (await isAuthentic(text))) onWhole(follower.turnId);
    else if (!follower.over.signal.aborted) onLost(follower.turnId, DAMAGED);
    leave(follower);
  }

  /** The journal alone decides: fold it from its first record. @param {Follower} follower */
  async function readAgain(follower) {
    let text = EMPTY_TEXT;
    let after = null;
    let failures = 0;
    while (!follower.over.signal.aborted) {
      try {
        const page = await api.frames(follower.turnId, { after, wait: 0, signal: patience(follower, 0, failures) });
        text = page.frames.reduce(applyRecord, text);
        after = page.next;
        if (page.ended || page.frames.length === 0) break;
      } catch (error) {
        if (follower.asking.signal.aborted) continue;
        const pause = pauseAfter(error, failures);
        if (pause === null) return;
        failures += 1;
        await rest(follower, pause);
      }
    }
    if (text.end !== null) onReplaced(follower.turnId, text);
  }

  /** @param {Follower} follower @param {ApiError} error */
  function lose(follower, error) {
    onLost(follower.turnId, { code: error.code, message: error.message, status: error.status });
    leave(follower);
  }

  return { follow, heard, readNow, setLive, askAgain, leaveAll: () => [...followers.values()].forEach(leave) };
}

/** Until when an answer is waited for. @param {Follower} follower @param {number} wait seconds @param {number} failures */
function patience(follower, wait, failures) {
  const grace = Math.min(REQUEST_GRACE_SECONDS * (failures + 1), LONGEST_GRACE_SECONDS);
  follower.asking = new AbortController();
  return AbortSignal.any([follower.over.signal, follower.asking.signal, AbortSignal.timeout((wait + grace) * 1000)]);
}

/** How long to wait before the next try; null if trying again cannot help. @param {unknown} error @param {number} failures */
function pauseAfter(error, failures) {
  if (error instanceof ApiError && error.status < 500) {
    return error.status === 429 ? (error.retryAfter ?? 1) * 1000 : null;
  }
  if (error instanceof ApiError || error instanceof NetworkError) {
    return Math.min(RETRY_MS * 2 ** failures, LONGEST_RETRY_MS);
  }
  throw error;
}

/** @param {Follower} follower @param {number} milliseconds */
function rest(follower, milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    follower.wake = () => (clearTimeout(timer), resolve(undefined));
  });
}

/** @param {Follower} follower */
function waitUntilOver(follower) {
  return new Promise((resolve) => follower.over.signal.addEventListener("abort", resolve, { once: true }));
}

/** @param {TurnText} text */
export async function isAuthentic({ text, end }) {
  if (end === null) return false;
  if (end.length !== null && end.length !== text.length) return false;
  // Only secure contexts have crypto.subtle; a page served over plain HTTP from elsewhere checks the length alone.
  if (!end.sha256 || !globalThis.crypto?.subtle) return true;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("") === end.sha256.toLowerCase();
}

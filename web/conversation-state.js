// @ts-check
/**
 * The state of one conversation and everything that can happen to it. Pure: no DOM, no clock, no network.
 *
 * Each function takes a state and gives back the next one; what did not change is the same object as before, so views
 * compare by identity and draw only what is new. Turns are in the server's order; what the server has not told of yet
 * comes last. Records that arrive for a turn before its answer to the POST does are kept as strays, never lost.
 */
import { EMPTY_TEXT, applyRecord } from "./turn-text.js";

/**
 * @typedef {import("./turn-text.js").TurnText} TurnText
 * @typedef {import("./turn-text.js").TurnRecord} TurnRecord
 * @typedef {import("./turn-text.js").TurnError} TurnError
 * @typedef {"sending" | "unsent" | "running" | "completed" | "stopped" | "filtered" | "failed" | "lost"} TurnStatus
 *   unsent: the server did not take it; lost: the server took it, and its answer cannot be read
 * @typedef {TurnError & {status?: number, retryAt?: number}} Problem what went wrong, with the HTTP status if there is one
 * @typedef {{key: string, turnId: string | null, prompt: string, status: TurnStatus, text: TurnText,
 *   problem: Problem | null, stop: "asked" | Problem | null, startedAt: number, mine: boolean, caughtUp: boolean}} Turn
 *   mine: asked on this page, in this tab; caughtUp: what the journal held when the page began to follow is here;
 *   stop: asked for on this page and on its way, or why it was refused
 * @typedef {{role: string, content: string, turnId?: string | null, status?: string}} Message
 * @typedef {{conversationId: string, title: string | null, loading: "loading" | "ready" | "failed",
 *   problem: Problem | null, turns: Turn[], strays: Record<string, TurnText>}} Conversation
 */

const FINAL = new Set(["completed", "stopped", "filtered", "failed"]);

/** @param {string} conversationId @returns {Conversation} */
export function emptyConversation(conversationId) {
  return { conversationId, title: null, loading: "loading", problem: null, turns: [], strays: {} };
}

/** @param {Turn} turn */
export function isFinal(turn) {
  return FINAL.has(turn.status);
}

/** @param {Conversation} state */
export function runningTurns(state) {
  return state.turns.filter((turn) => turn.status === "running");
}

/** A turn is on its way: the composer waits for it. @param {Conversation} state */
export function isBusy(state) {
  return state.turns.some(isOnItsWay);
}

/** The turn that a stop is for: the first that is on its way and was not yet asked to stop. @param {Conversation} state */
export function turnToStop(state) {
  return state.turns.find((turn) => isOnItsWay(turn) && turn.stop !== "asked") ?? null;
}

/** @param {Turn} turn */
function isOnItsWay(turn) {
  return turn.status === "running" || turn.status === "sending";
}

/** @param {Conversation} state @param {string} turnId */
export function findTurn(state, turnId) {
  return state.turns.find((turn) => turn.turnId === turnId) ?? null;
}

/** What the server told, joined with what this page knows better. @param {Conversation} state @param {{title?: string | null, messages: Message[]}} stored @param {number} now @returns {Conversation} */
export function mergeStored(state, stored, now) {
  const told = turnsOf(stored.messages, now).map((turn) => joined(state, turn));
  const toldIds = new Set(told.map((turn) => turn.turnId));
  // Only the newest turns may have been told: what stands before them stays there, what is new here stays at the end.
  const isTold = (/** @type {Turn} */ turn) => turn.turnId !== null && toldIds.has(turn.turnId);
  const earlier = Math.max(state.turns.findIndex(isTold), 0);
  const later = state.turns.slice(earlier).filter((turn) => !isTold(turn));
  const turns = [...state.turns.slice(0, earlier), ...told, ...later];
  const same = turns.length === state.turns.length && turns.every((turn, index) => turn === state.turns[index]);
  return {
    ...state,
    title: stored.title ?? state.title,
    loading: "ready",
    problem: null,
    turns: same ? state.turns : turns,
    strays: without(state.strays, toldIds),
  };
}

/** @param {Conversation} state @param {Problem} problem @returns {Conversation} */
export function loadFailed(state, problem) {
  return { ...state, loading: "failed", problem };
}

/** @param {Conversation} state @param {{key: string, prompt: string, now: number}} send @returns {Conversation} */
export function addSend(state, { key, prompt, now }) {
  /** @type {Turn} */
  const turn = {
    key, turnId: null, prompt, status: "sending", text: EMPTY_TEXT, problem: null, stop: null, startedAt: now, mine: true,
    caughtUp: true,
  };
  return { ...state, turns: [...state.turns.filter((other) => other.key !== key), turn] };
}

/** @param {Conversation} state @param {string} key @param {string} turnId @returns {Conversation} */
export function acceptSend(state, key, turnId) {
  const known = findTurn(state, turnId);
  const text = state.strays[turnId] ?? known?.text ?? EMPTY_TEXT;
  const status = known !== null && known.key !== key ? known.status : "running";
  const turns = state.turns
    .filter((turn) => turn.turnId !== turnId || turn.key === key)
    .map((turn) => (turn.key === key ? { ...turn, turnId, status, text, problem: null } : turn));
  return { ...state, turns, strays: without(state.strays, new Set([turnId])) };
}

/** @param {Conversation} state @param {string} key @param {Problem} problem @returns {Conversation} */
export function rejectSend(state, key, problem) {
  return changeTurn(state, (turn) => turn.key === key, (turn) => ({ ...turn, status: "unsent", problem }));
}

/** The person wants this turn to end; one that is still being sent is stopped when the server has it. @param {Conversation} state @param {string} key */
export function askStop(state, key) {
  return changeTurn(state, (turn) => turn.key === key && isOnItsWay(turn), (turn) => ({ ...turn, stop: "asked" }));
}

/** The server will not stop it: it goes on. @param {Conversation} state @param {string} turnId @param {Problem} problem */
export function refuseStop(state, turnId, problem) {
  return changeTurn(state, (turn) => turn.turnId === turnId && isOnItsWay(turn), (turn) => ({ ...turn, stop: problem }));
}

/** @param {Conversation} state @param {string} key @returns {Conversation} */
export function removeTurn(state, key) {
  return { ...state, turns: state.turns.filter((turn) => turn.key !== key) };
}

/** One record of the journal, from wherever it came. @param {Conversation} state @param {string} turnId @param {TurnRecord} record @returns {Conversation} */
export function applyFrame(state, turnId, record) {
  const turn = findTurn(state, turnId);
  if (turn === null) {
    const before = state.strays[turnId] ?? EMPTY_TEXT;
    const stray = applyRecord(before, record);
    return stray === before ? state : { ...state, strays: { ...state.strays, [turnId]: stray } };
  }
  if (turn.status !== "running") return state;
  const text = applyRecord(turn.text, record);
  return text === turn.text ? state : changeTurn(state, (other) => other === turn, () => ({ ...turn, text }));
}

/** The page has read what the journal held when it began to follow. @param {Conversation} state @param {string} turnId */
export function markCaughtUp(state, turnId) {
  return changeTurn(state, (turn) => turn.turnId === turnId && !turn.caughtUp, (turn) => ({ ...turn, caughtUp: true }));
}

/** The text was read again from its first record. @param {Conversation} state @param {string} turnId @param {TurnText} text */
export function replaceText(state, turnId, text) {
  return changeTurn(state, (turn) => turn.turnId === turnId && turn.status === "running", (turn) => ({ ...turn, text }));
}

/** The text is whole and is the one that the server hashed. @param {Conversation} state @param {string} turnId */
export function finishTurn(state, turnId) {
  return changeTurn(
    state,
    (turn) => turn.turnId === turnId && turn.status === "running" && turn.text.end !== null,
    (turn) => ({ ...turn, status: statusOf(turn.text.end?.status), problem: turn.text.end?.error ?? null }),
  );
}

/** @param {Conversation} state @param {string} turnId @param {Problem} problem */
export function loseTurn(state, turnId, problem) {
  return changeTurn(state, (turn) => turn.turnId === turnId && turn.status === "running", (turn) => ({ ...turn, status: "lost", problem }));
}

/** @param {Conversation} state @param {string} turnId */
export function followAgain(state, turnId) {
  return changeTurn(state, (turn) => turn.turnId === turnId && turn.status === "lost", (turn) => ({ ...turn, status: "running", problem: null }));
}

/** Why a stored turn failed, told later by its status. @param {Conversation} state @param {string} turnId @param {Problem} problem */
export function explainTurn(state, turnId, problem) {
  return changeTurn(state, (turn) => turn.turnId === turnId && turn.problem === null, (turn) => ({ ...turn, problem }));
}

/** @param {Conversation} state @param {(turn: Turn) => boolean} which @param {(turn: Turn) => Turn} change @returns {Conversation} */
function changeTurn(state, which, change) {
  if (!state.turns.some(which)) return state;
  return { ...state, turns: state.turns.map((turn) => (which(turn) ? change(turn) : turn)) };
}

/** A stored turn beside the one this page holds: a text that is being followed or was checked is not exchanged. @param {Conversation} state @param {Turn} stored @returns {Turn} */
function joined(state, stored) {
  const own = stored.turnId === null ? state.turns.find((turn) => turn.key === stored.key) : findTurn(state, stored.turnId);
  if (own) return own.status === "lost" && isFinal(stored) ? { ...stored, key: own.key, mine: own.mine } : own;
  const stray = stored.turnId === null ? undefined : state.strays[stored.turnId];
  return stray !== undefined && stored.status === "running" ? { ...stored, text: stray } : stored;
}

/** @param {Message[]} messages @param {number} now @returns {Turn[]} */
function turnsOf(messages, now) {
  /** @type {Turn[]} */
  const turns = [];
  for (const [index, message] of messages.entries()) {
    if (message.role === "user") {
      turns.push(storedTurn(message, index, now));
    } else if (message.role === "assistant") {
      const turn = turns.at(-1);
      const belongs = turn !== undefined && (message.turnId ?? null) === turn.turnId;
      const answered = belongs ? turn : storedTurn({ ...message, content: "" }, index, now);
      if (!belongs) turns.push(answered);
      answered.text = { ...EMPTY_TEXT, text: message.content };
      answered.status = statusOf(message.status);
    }
  }
  return turns;
}

/** @param {Message} message @param {number} index @param {number} now @returns {Turn} */
function storedTurn(message, index, now) {
  const turnId = message.turnId ?? null;
  const status = message.status === "running" && turnId !== null ? "running" : statusOf(message.status);
  return {
    key: turnId ?? `stored-${index}`, turnId, prompt: message.content, status, text: EMPTY_TEXT, problem: null, stop: null,
    startedAt: now, mine: false, caughtUp: false,
  };
}

/** An ending that this page has no word for did not go well. @param {string | undefined} status @returns {TurnStatus} */
function statusOf(status) {
  if (status === undefined) return "completed";
  return FINAL.has(status) ? /** @type {TurnStatus} */ (status) : "failed";
}

/** @param {Record<string, TurnText>} strays @param {Set<string | null>} ids */
function without(strays, ids) {
  const kept = Object.entries(strays).filter(([turnId]) => !ids.has(turnId));
  return kept.length === Object.keys(strays).length ? strays : Object.fromEntries(kept);
}

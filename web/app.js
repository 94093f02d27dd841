// @ts-check
/**
 * The page's controller: it alone knows all parts. Events come up from the parts, state goes down to them.
 */
import { ApiError, NetworkError, createChatApi } from "./chat-api.js";
import { mountComposer } from "./composer.js";
import { CONNECTING, changeConnection, mountConnectionStatus } from "./connection-status.js";
import { isConversationId, newId } from "./conversation-id.js";
import * as conversation from "./conversation-state.js";
import { createFrameStream } from "./frame-stream.js";
import { mountIntro } from "./intro.js";
import { mountMessageList } from "./message-list.js";
import { recall, remember } from "./page-memory.js";
import { openConnection } from "./signalr.js";
import { mountThemeSwitch } from "./theme-switch.js";
import { describeTurn } from "./turn-status.js";

/** @typedef {import("./conversation-state.js").Conversation} Conversation */
/** @typedef {import("./conversation-state.js").Problem} Problem */
/** @typedef {import("./conversation-state.js").Turn} Turn */

const TITLE = document.title;
const SEND_RETRY_MS = [500, 1000, 2000]; // after these the person is asked
const LOAD_RETRY_MS = 2000;
const LOOK_AROUND_MS = 5000; // for turns asked elsewhere, while SignalR cannot tell of them, and for the server itself
const CLOCK_MS = 500;
const STOP_RETRY_MS = 300;
const LONGEST_STOP_RETRY_MS = 3000;

const revealMs = Number(document.querySelector('meta[name="reveal-ms"]')?.getAttribute("content") ?? 33);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const announcer = element(".announcer");

let state = conversation.emptyConversation("");
let connection = changeConnection(CONNECTING, { now: Date.now() });
let drawing = false;
let refreshing = false;
let mintedHere = false; // the conversation's id was made by this page, not found in the address

/** How each message that is on its way was sent: a try whose fate is unknown is repeated under the same key. @type {Map<string, {idempotencyKey: string, unknown: boolean}>} */
const sends = new Map();

const api = createChatApi({
  onReachable: (reachable) => connectionChanged({ reachable }),
  onOverdue: () => connectionChanged({ overdue: true }),
});
const stream = createFrameStream({
  api,
  getText: (turnId) => {
    const turn = conversation.findTurn(state, turnId);
    return turn?.status === "running" ? turn.text : null;
  },
  onRecord: (turnId, record) => change(conversation.applyFrame(state, turnId, record)),
  onCaughtUp: (turnId) => change(conversation.markCaughtUp(state, turnId)),
  onReplaced: (turnId, text) => change(conversation.replaceText(state, turnId, text)),
  onWhole: (turnId) => change(conversation.finishTurn(state, turnId)),
  onLost: (turnId, problem) => change(conversation.loseTurn(state, turnId, problem)),
});
const composer = mountComposer(/** @type {HTMLFormElement} */ (element("form.composer")), element(".composer-hint"));
const intro = mountIntro(element(".intro"));
const connectionStatus = mountConnectionStatus(element(".connection-status"));
const messageList = mountMessageList(
  { scroller: element(".conversation"), list: element(".message-list"), toEnd: element(".to-end") },
  { stepMs: () => (calm.matches ? 0 : revealMs), onShown: announce },
);
mountThemeSwitch(element(".theme-switch"));

// ---- state goes down

/** @param {Conversation} next */
function change(next) {
  if (next === state) return;
  state = next;
  if (drawing) return;
  drawing = true;
  queueMicrotask(draw);
}

function draw() {
  drawing = false;
  const now = Date.now();
  intro.update(state);
  messageList.update(state, { now, online: connection.reachable, answering: connection.answering });
  composer.update({ busy: conversation.isBusy(state), stopping: conversation.turnToStop(state) === null });
  connectionStatus.update(connection, now);
  document.title = state.title ? `${state.title} · ${TITLE}` : TITLE;
}

/** @param {{live?: boolean, reachable?: boolean, overdue?: boolean}} news */
function connectionChanged(news) {
  const next = changeConnection(connection, { ...news, now: Date.now() });
  const changed = ["live", "reachable", "answering"].some((name) => Reflect.get(next, name) !== Reflect.get(connection, name));
  connection = next;
  if (changed) draw();
}

/** A screen reader hears of an answer when all of it is there. @param {Turn} turn */
function announce(turn) {
  const { words } = describeTurn(turn, { now: Date.now(), grewAt: 0, online: true, answering: true, behind: false });
  announcer.textContent = words === "" ? "The answer is complete." : words;
}

// ---- the conversation in the address

/** @param {string} conversationId @param {boolean} isNew nobody can have written in it yet */
function open(conversationId, isNew) {
  stream.leaveAll();
  mintedHere = isNew;
  const opened = conversation.emptyConversation(conversationId);
  change(isNew ? { ...opened, loading: "ready" } : opened);
  composer.fill(recall("localStorage", `draft:${conversationId}`) ?? "");
  if (!isNew) void load();
}

function openAddress() {
  const wanted = new URLSearchParams(location.search).get("c");
  const known = isConversationId(wanted);
  const conversationId = known ? wanted : newId();
  if (!known) history.replaceState(null, "", addressOf(conversationId));
  open(conversationId, !known);
}

/** @param {string} conversationId */
function addressOf(conversationId) {
  return `${location.pathname}?${new URLSearchParams({ c: conversationId })}`;
}

function startNewConversation() {
  if (state.turns.length > 0 || state.loading === "failed") {
    const conversationId = newId();
    history.pushState(null, "", addressOf(conversationId));
    open(conversationId, true);
  }
  composer.focus();
}

/** Reads the conversation, and tries again until it has. */
async function load() {
  const { conversationId } = state;
  while (state.conversationId === conversationId) {
    try {
      await refresh();
      resendOutbox();
      return;
    } catch (error) {
      if (state.conversationId !== conversationId) return;
      if (!isUnknownFate(error)) return change(conversation.loadFailed(state, problemOf(error)));
      await pause(LOAD_RETRY_MS);
    }
  }
}

async function refresh() {
  const { conversationId } = state;
  const stored = await api.conversation(conversationId, (turnId) => conversation.findTurn(state, turnId) !== null);
  // While a message is on its way the server may know it under an id that this page has yet to be told.
  if (state.conversationId !== conversationId || isSending()) return;
  change(conversation.mergeStored(state, stored, Date.now()));
  for (const turn of conversation.runningTurns(state)) stream.follow(/** @type {string} */ (turn.turnId));
  for (const turn of state.turns) {
    if (turn.status === "failed" && turn.problem === null && turn.turnId !== null) void explain(turn.turnId);
  }
}

/** Looks for what other pages did in this conversation; a failure is seen in the connection's status. */
async function lookAround() {
  if (refreshing || isSending() || state.loading !== "ready") return;
  refreshing = true;
  try {
    await refresh();
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NetworkError)) throw error;
  } finally {
    refreshing = false;
  }
}

/** @param {string} turnId */
async function explain(turnId) {
  try {
    const { error } = await api.turnStatus(turnId);
    change(conversation.explainTurn(state, turnId, error ?? { code: "failed", message: "" }));
  } catch (error) {
    change(conversation.explainTurn(state, turnId, { code: problemOf(error).code, message: "" })); // it failed: that much is known
  }
}

// ---- sending

/** @param {string} prompt @param {{key: string, idempotencyKey: string}} [as] a message that was sent before */
async function send(prompt, { key, idempotencyKey } = { key: newId(), idempotencyKey: newId() }) {
  const { conversationId } = state;
  const outbox = `outbox:${conversationId}`;
  sends.set(key, { idempotencyKey, unknown: true });
  remember("sessionStorage", outbox, JSON.stringify({ key, idempotencyKey, prompt }));
  change(conversation.addSend(state, { key, prompt, now: Date.now() }));
  messageList.goToEnd();
  try {
    const { turnId } = await post(conversationId, prompt, idempotencyKey);
    remember("sessionStorage", outbox, "");
    sends.delete(key);
    if (state.conversationId !== conversationId) return;
    change(conversation.acceptSend(state, key, turnId));
    stream.follow(turnId);
    stream.heard(turnId); // its first frames may have been faster than the answer to the POST
    if (conversation.findTurn(state, turnId)?.stop === "asked") void carryOutStop(turnId);
  } catch (error) {
    const unknown = isUnknownFate(error);
    sends.set(key, { idempotencyKey, unknown });
    if (!unknown) remember("sessionStorage", outbox, "");
    if (state.conversationId === conversationId) change(conversation.rejectSend(state, key, problemOf(error)));
  }
}

/** Repeats a POST whose fate is unknown; its key makes sure that it becomes one turn. @param {string} conversationId @param {string} prompt @param {string} idempotencyKey */
async function post(conversationId, prompt, idempotencyKey) {
  for (const delay of SEND_RETRY_MS) {
    try {
      return await api.startTurn(conversationId, { prompt, idempotencyKey });
    } catch (error) {
      if (!isUnknownFate(error)) throw error;
      await pause(delay);
    }
  }
  return api.startTurn(conversationId, { prompt, idempotencyKey });
}

/** The page was left while a message was on its way: it may or may not have arrived, so it goes out again as it was. */
function resendOutbox() {
  const kept = recall("sessionStorage", `outbox:${state.conversationId}`);
  if (!kept || isSending()) return;
  const { key, idempotencyKey, prompt } = JSON.parse(kept);
  void send(prompt, { key, idempotencyKey });
}

/** @param {Turn} turn */
function retry(turn) {
  const sent = sends.get(turn.key);
  if (turn.status === "unsent") {
    void send(turn.prompt, { key: turn.key, idempotencyKey: sent?.unknown ? sent.idempotencyKey : newId() });
  } else {
    void send(turn.prompt);
  }
}

/** @param {Turn} turn */
function edit(turn) {
  if (turn.status === "unsent") change(conversation.removeTurn(state, turn.key));
  composer.edit(turn.prompt);
}

// ---- stopping

function stop() {
  const turn = conversation.turnToStop(state);
  if (turn === null) return;
  change(conversation.askStop(state, turn.key));
  announcer.textContent = "Stopping.";
  if (turn.turnId !== null) void carryOutStop(turn.turnId);
}

/** Asks until the server has stopped the turn, or the turn has ended otherwise. @param {string} turnId */
async function carryOutStop(turnId) {
  for (let delay = STOP_RETRY_MS; ; delay = Math.min(delay * 2, LONGEST_STOP_RETRY_MS)) {
    try {
      const { status } = await api.stopTurn(turnId);
      if (status !== "running") break;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) break; // its end is on its way, or here
      if (!isUnknownFate(error)) return change(conversation.refuseStop(state, turnId, problemOf(error)));
    }
    await pause(delay);
    if (conversation.findTurn(state, turnId)?.status !== "running") return; // ended, or another conversation is open
  }
  stream.readNow(turnId);
}

/** Nobody knows of this conversation yet: asking for it would only be told that it does not exist. */
function isUntouched() {
  return mintedHere && state.turns.length === 0;
}

function isSending() {
  return state.turns.some((turn) => turn.status === "sending");
}

/** There was no answer, or none from the chat itself: the request may have been carried out. @param {unknown} error */
function isUnknownFate(error) {
  return error instanceof NetworkError || (error instanceof ApiError && error.status >= 500);
}

/** @param {unknown} error @returns {Problem} */
function problemOf(error) {
  if (error instanceof ApiError) {
    const retryAt = error.retryAfter === null ? undefined : Date.now() + error.retryAfter * 1000;
    return { code: error.code, message: error.message, status: error.status, retryAt };
  }
  if (error instanceof NetworkError) return { code: "unreachable", message: error.message };
  throw error;
}

// ---- events come up

/** @param {string} name @param {(detail: any) => void} act */
function on(name, act) {
  document.addEventListener(name, (event) => act(/** @type {CustomEvent} */ (event).detail));
}

/** @param {string} name @param {(turn: Turn) => void} act */
function onTurn(name, act) {
  on(name, ({ key }) => {
    const turn = state.turns.find((other) => other.key === key);
    if (turn) act(turn);
  });
}

on("stop-turn", stop);
on("send-prompt", ({ prompt }) => void send(prompt));
on("save-draft", ({ draft }) => remember("localStorage", `draft:${state.conversationId}`, draft));
on("recall-prompt", () => {
  const last = state.turns.at(-1);
  if (last) composer.edit(last.prompt);
});
on("load-conversation", () => open(state.conversationId, false));
on("sign-in", () => location.reload());
onTurn("retry-turn", retry);
onTurn("shorten-turn", edit);
onTurn("edit-turn", edit);
onTurn("follow-turn", (turn) => {
  if (turn.turnId === null) return;
  change(conversation.followAgain(state, turn.turnId));
  stream.follow(turn.turnId);
});
element(".new-conversation").addEventListener("click", startNewConversation);
addEventListener("popstate", openAddress);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  stream.askAgain();
  void lookAround();
});
addEventListener("online", () => stream.askAgain());
addEventListener("offline", () => connectionChanged({ reachable: false })); // the next answer says otherwise

openConnection({
  onRecord(record) {
    if (record.conversationId !== state.conversationId) return;
    if (!conversation.findTurn(state, record.turnId)) void lookAround();
    change(conversation.applyFrame(state, record.turnId, record));
    stream.heard(record.turnId);
  },
  onTurnStarted({ turnId, conversationId }) {
    if (conversationId === state.conversationId && !conversation.findTurn(state, turnId)) void lookAround();
  },
  onLive(live) {
    connectionChanged({ live });
    stream.setLive(live);
    if (live && !isUntouched()) void lookAround(); // what began while nobody could tell
  },
});
setInterval(draw, CLOCK_MS);
setInterval(() => {
  // With SignalR up nothing else might ask the server again, and a request that failed would be taken for its state.
  if (!(connection.live && connection.reachable) && document.visibilityState === "visible") void lookAround();
}, LOOK_AROUND_MS);
openAddress();
if (matchMedia("(pointer: fine)").matches) composer.focus(); // on a phone the keyboard would cover the page

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** @param {string} selector @returns {HTMLElement} */
function element(selector) {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`index.html has no ${selector}`);
  return found;
}

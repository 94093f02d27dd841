// @ts-check
/**
 * What is said about a turn, below its text: dots and words while it runs, and at its end a sentence if it ended otherwise
 * than well, with the one button that does the right thing. `describeTurn` decides (pure), `mountTurnStatus` draws.
 */

const WORDS_AFTER_MS = 2000;
const QUIET_AFTER_MS = 5000; // text came, and then nothing more for so long
const LONG_AFTER_MS = 20_000; // by now the server has another run look after the turn, because this page keeps asking
const ORDINALS = ["first", "second", "third", "fourth", "fifth"]; // no turn is tried more often

const TOO_LONG = new Set(["too_long", "too_large", "context_length_exceeded"]); // the server's words and the model's

/**
 * @typedef {import("./conversation-state.js").Turn} Turn
 * @typedef {{now: number, grewAt: number, online: boolean, answering: boolean, behind: boolean}} About
 *   grewAt: when the shown text last grew; online: the last request was answered; answering: and none is overdue;
 *   behind: an earlier turn of the conversation still runs
 * @typedef {"retry-turn" | "shorten-turn" | "edit-turn" | "follow-turn" | "sign-in"} ActionName
 * @typedef {{name: ActionName, label: string, disabled?: boolean}} Action
 * @typedef {{dots: boolean, words: string, tone: "quiet" | "note" | "error", action: Action | null}} TurnStatusView
 */

/** @type {Action} */ const TRY_AGAIN = { name: "retry-turn", label: "Try again" };
/** @type {Action} */ const SHORTEN = { name: "shorten-turn", label: "Shorten" };
/** @type {Action} */ const REPHRASE = { name: "edit-turn", label: "Rephrase" };
/** @type {Action} */ const SIGN_IN = { name: "sign-in", label: "Sign in" };
/** @type {Action} */ const LOAD_AGAIN = { name: "follow-turn", label: "Load again" };

/**
 * @param {Turn} turn
 * @param {About} about
 * @returns {TurnStatusView}
 */
export function describeTurn(turn, about) {
  const { now, online } = about;
  switch (turn.status) {
    case "sending":
      if (turn.stop === "asked") return progress(online ? "stopping" : "stopping: no connection, trying again");
      return progress(now - turn.startedAt >= WORDS_AFTER_MS ? (online ? "sending" : "no connection, trying again") : "");
    case "running":
      return describeRunning(turn, about);
    case "unsent":
      return describeUnsent(turn, now);
    case "lost":
      return failure(sentence(turn.problem?.message ?? "This answer could not be read."), needsSignIn(turn) ? SIGN_IN : LOAD_AGAIN);
    default:
      return describeEnded(turn);
  }
}

/** @param {Turn} turn @param {About} about */
function describeRunning(turn, { now, grewAt, online, answering, behind }) {
  const { text, stop } = turn;
  const started = text.text !== "";
  const since = now - Math.max(grewAt, turn.startedAt);
  if (text.end !== null) return progress("", started);
  if (stop === "asked") return progress(online ? "stopping" : "stopping: no connection, trying again", started);
  if (stop !== null) return progress(`this could not be stopped: ${sentence(stop.message)}`, started);
  const waited = text.waitUntil === null ? 0 : Date.parse(text.waitUntil) - now;
  if (waited > 0) {
    return progress(`waiting until ${clock(text.waitUntil ?? "")} (${Math.ceil(waited / 1000)} s): the service is busy`, started);
  }
  if (since < (started && text.attempt === 1 && text.root === 1 ? QUIET_AFTER_MS : WORDS_AFTER_MS)) {
    return progress(started && text.attempt > 1 ? attemptWords(text.attempt) : "", started);
  }
  // Of the model nothing can be known now.
  if (!answering) return progress("waiting for the server");
  if (behind && !started) return progress("an earlier answer comes first");
  const heardUntil = text.waitUntil === null ? 0 : Date.parse(text.waitUntil); // announced, so it was no silence
  const still = now - Math.max(grewAt, turn.startedAt, heardUntil) >= LONG_AFTER_MS;
  if (text.attempt > 1) return progress(attemptWords(text.attempt) + (still ? ", still waiting" : ""));
  return progress(still ? "still waiting for the model" : "waiting for the model");
}

/** @param {Turn} turn @param {number} now */
function describeUnsent({ problem }, now) {
  const status = problem?.status ?? 0;
  const said = sentence(problem?.message ?? "The message could not be sent.");
  if (status === 401 || status === 403) return failure(said, SIGN_IN);
  if (status === 413) return failure(said, SHORTEN);
  if (status === 400 || status === 422) return failure(said, TOO_LONG.has(problem?.code ?? "") ? SHORTEN : REPHRASE);
  const seconds = Math.ceil(((problem?.retryAt ?? 0) - now) / 1000);
  if (seconds > 0) return failure(said, { ...TRY_AGAIN, label: `Try again in ${seconds} s`, disabled: true });
  return failure(said, TRY_AGAIN);
}

/** @param {Turn} turn @returns {TurnStatusView} */
function describeEnded({ status, text, problem }) {
  const partly = text.text !== "";
  if (status === "filtered") {
    return note(partly ? "The content filter withheld the rest of this answer." : "The content filter withheld this answer.", REPHRASE);
  }
  if (status === "stopped") return note(partly ? "Stopped here." : "Stopped before the answer began.", TRY_AGAIN);
  if (status === "failed") {
    const what = partly ? "This answer broke off." : "There is no answer to this.";
    const why = problem?.message ? ` ${sentence(problem.message)}` : "";
    if (TOO_LONG.has(problem?.code ?? "")) return failure(what + why, SHORTEN);
    return failure(what + why, problem?.retryable === false ? REPHRASE : TRY_AGAIN);
  }
  if (text.end?.finishReason === "length") return note("This answer ends here because it reached its length limit.", null);
  if (!partly) return note("The model gave an empty answer.", TRY_AGAIN);
  return { dots: false, words: "", tone: "quiet", action: null };
}

/** @param {string} words @param {boolean} [started] @returns {TurnStatusView} */
function progress(words, started = false) {
  return { dots: !started || words !== "", words, tone: "quiet", action: null };
}

/** @param {string} words @param {Action | null} action @returns {TurnStatusView} */
function note(words, action) {
  return { dots: false, words, tone: "note", action };
}

/** @param {string} words @param {Action} action @returns {TurnStatusView} */
function failure(words, action) {
  return { dots: false, words, tone: "error", action };
}

/** @param {Turn} turn */
function needsSignIn(turn) {
  return turn.problem?.status === 401 || turn.problem?.status === 403;
}

/** @param {number} attempt */
function attemptWords(attempt) {
  return `${ORDINALS[attempt - 1] ?? `${attempt}th`} attempt`;
}

/** @param {string} message */
function sentence(message) {
  const said = message.trim();
  return /[.!?…。]$/.test(said) ? said : `${said}.`;
}

/** @param {string} iso */
function clock(iso) {
  return new Date(iso).toLocaleTimeString("en-GB");
}

/** @param {HTMLElement} element @param {string} key of the turn, which the button's event names */
export function mountTurnStatus(element, key) {
  const dots = element.appendChild(document.createElement("span"));
  dots.className = "dots";
  dots.setAttribute("aria-hidden", "true");
  dots.append(...[1, 2, 3].map(() => document.createElement("i")));
  const words = element.appendChild(document.createElement("span"));
  words.className = "words";
  const button = element.appendChild(document.createElement("button"));
  button.type = "button";
  let drawn = "";
  /** @type {Action | null} */
  let action = null;
  button.addEventListener("click", () => {
    if (action && !action.disabled) element.dispatchEvent(new CustomEvent(action.name, { bubbles: true, detail: { key } }));
  });

  /** @param {TurnStatusView} view */
  function update(view) {
    const drawing = JSON.stringify(view);
    if (drawing === drawn) return;
    drawn = drawing;
    action = view.action;
    element.hidden = !view.dots && view.words === "" && action === null;
    element.dataset.tone = view.tone;
    dots.hidden = !view.dots;
    words.textContent = view.words;
    button.hidden = action === null;
    button.textContent = action?.label ?? "";
    button.setAttribute("aria-disabled", String(action?.disabled ?? false));
  }
  return { update };
}

// @ts-check
/**
 * The conversation on the page: one view for each turn, kept by the turn's key, drawn only when the turn changed.
 *
 * It also keeps the reader's place: the list follows its end while the reader is there, and stays where it is otherwise.
 */
import { mountAnswer } from "./answer.js";
import { isFinal } from "./conversation-state.js";

const AT_END_PX = 32;
const COPIED_MS = 2000;

/** @typedef {import("./conversation-state.js").Conversation} Conversation */
/** @typedef {import("./conversation-state.js").Turn} Turn */
/** @typedef {{element: HTMLElement, prompt: HTMLElement, answer: ReturnType<typeof mountAnswer>, turn: Turn | null}} TurnView */

/**
 * @param {{scroller: HTMLElement, list: HTMLElement, toEnd: HTMLElement}} elements
 * @param {{stepMs: () => number, onShown: (turn: Turn) => void}} options
 */
export function mountMessageList({ scroller, list, toEnd }, options) {
  /** @type {Map<string, TurnView>} */
  const views = new Map();
  let following = true;
  let lastTop = 0;
  let shownTurns = 0;

  scroller.addEventListener("scroll", () => {
    // Growing text also moves the end away from the reader; only the reader's own move upwards lets go of it.
    if (atEnd()) following = true;
    else if (scroller.scrollTop < lastTop) following = false;
    lastTop = scroller.scrollTop;
    showToEnd();
  }, { passive: true });
  new ResizeObserver(keepPlace).observe(list);
  new ResizeObserver(keepPlace).observe(scroller);
  toEnd.addEventListener("click", goToEnd);
  list.addEventListener("click", (event) => {
    const button = /** @type {Element} */ (event.target).closest("button.copy");
    if (button instanceof HTMLButtonElement) void copyCode(button);
  });

  function atEnd() {
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
  }

  /** What stands there instead is read from its beginning. */
  function isEmpty() {
    return list.childElementCount === 0;
  }

  function keepPlace() {
    if (following && !isEmpty()) scroller.scrollTop = scroller.scrollHeight;
    lastTop = scroller.scrollTop;
    showToEnd();
  }

  function showToEnd() {
    toEnd.hidden = following || atEnd() || isEmpty();
  }

  function goToEnd() {
    following = true;
    keepPlace();
    // The button that was pressed is gone: whoever came by keyboard goes on in the text.
    if (document.activeElement === document.body || document.activeElement === toEnd) scroller.focus({ preventScroll: true });
  }

  /** @param {Turn} turn @returns {TurnView} */
  function mountTurn(turn) {
    const element = document.createElement("article");
    element.className = "turn";
    const question = element.appendChild(document.createElement("div"));
    question.className = "prompt";
    question.append(spoken("You said:"));
    const prompt = question.appendChild(document.createElement("div"));
    prompt.className = "bubble";
    prompt.dir = "auto";
    const reply = element.appendChild(document.createElement("div"));
    reply.className = "answer";
    reply.append(spoken("Answer:"));
    return { element, prompt, answer: mountAnswer(reply, { key: turn.key, ...options }), turn: null };
  }

  /** @param {Conversation} state @param {Omit<import("./answer.js").Moment, "behind">} moment */
  function update(state, moment) {
    const keys = new Set(state.turns.map((turn) => turn.key));
    for (const [key, view] of views) {
      if (keys.has(key)) continue;
      view.element.remove();
      views.delete(key);
    }
    if (state.turns.length === 0 && shownTurns > 0) [following, scroller.scrollTop] = [true, 0];
    shownTurns = state.turns.length;
    /** @type {Element | null} */
    let before = list.firstElementChild;
    let behind = false;
    for (const turn of state.turns) {
      const view = views.get(turn.key) ?? mountTurn(turn);
      views.set(turn.key, view);
      if (view.turn !== turn || !isFinal(turn)) draw(view, turn, { ...moment, behind });
      behind ||= turn.status === "running";
      if (view.element === before) before = before.nextElementSibling;
      else list.insertBefore(view.element, before);
    }
  }

  /** @param {TurnView} view @param {Turn} turn @param {import("./answer.js").Moment} moment */
  function draw(view, turn, moment) {
    if (view.turn?.prompt !== turn.prompt) view.prompt.textContent = turn.prompt;
    view.element.dataset.status = turn.status;
    view.turn = turn;
    view.answer.update(turn, moment);
  }

  return { update, goToEnd };
}

/** Heard, not seen. @param {string} text */
function spoken(text) {
  const element = document.createElement("span");
  element.className = "visually-hidden";
  element.textContent = text;
  return element;
}

/** @param {HTMLButtonElement} button */
async function copyCode(button) {
  const code = button.closest("figure")?.querySelector("code")?.textContent ?? "";
  try {
    await navigator.clipboard.writeText(code);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // the browser said no; the text can still be selected
  }
  setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
}

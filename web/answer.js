// @ts-check
/**
 * One answer on the page: its text, revealed in steps, and the status below it.
 *
 * `update(turn)` may be called at any time; the answer takes its own steps towards the text it was given last. It stays
 * `aria-busy` until the whole text is shown, so that a screen reader is not told half sentences. A step that was
 * expensive to draw is followed by a pause, so that even an unkind text (one table of 100 KiB) leaves the page usable.
 */
import { mountMarkdown } from "./markdown.js";
import { nextShown } from "./reveal.js";
import { describeTurn, mountTurnStatus } from "./turn-status.js";

const DRAWING_SHARE = 4; // drawing takes at most a fifth of the time

/** @typedef {import("./conversation-state.js").Turn} Turn */
/** @typedef {Omit<import("./turn-status.js").About, "grewAt">} Moment */

/**
 * @param {HTMLElement} element
 * @param {{key: string, stepMs: () => number, onShown: (turn: Turn) => void}} options onShown: the answer is complete on the page
 */
export function mountAnswer(element, { key, stepMs, onShown }) {
  const content = element.appendChild(document.createElement("div"));
  content.className = "markdown";
  const markdown = mountMarkdown(content);
  const statusLine = element.appendChild(document.createElement("div"));
  statusLine.className = "turn-status";
  const status = mountTurnStatus(statusLine, key);

  /** @type {Turn | null} */
  let turn = null;
  /** @type {Moment} */
  let moment = { now: 0, online: true, answering: true, behind: false };
  let shown = 0;
  let shownText = "";
  let shownWhole = false;
  let root = 1;
  let grewAt = 0;
  /** @type {number | null} */
  let endedAt = null;
  let timer = 0;

  /** @param {Turn} next @param {Moment} at */
  function update(next, at) {
    moment = at;
    if (next !== turn) {
      const before = turn;
      turn = next;
      accept(before);
    }
    drawStatus();
  }

  /** @param {Turn | null} before */
  function accept(before) {
    const { text, mine } = /** @type {Turn} */ (turn);
    if (text.root !== root) [root, shown] = [text.root, 0]; // started again: the old text is gone
    if (text.end !== null) endedAt ??= performance.now();
    // What was there before this page looked is not news: it appears at once, as does all of a stored answer.
    const news = mine || (before?.caughtUp ?? false);
    if (!news) shown = text.text.length;
    shown = Math.min(shown, text.text.length);
    if (timer === 0) step();
  }

  function step() {
    timer = 0;
    const { text } = /** @type {Turn} */ (turn);
    const every = document.hidden ? 0 : stepMs();
    const began = performance.now();
    shown = nextShown({ text: text.text, shown, endedAt, now: began, stepMs: every });
    draw();
    if (shown < text.text.length) {
      const spent = performance.now() - began;
      timer = window.setTimeout(step, Math.max(every, spent * DRAWING_SHARE));
    }
  }

  function draw() {
    const { text, status: is } = /** @type {Turn} */ (turn);
    const whole = is !== "running" && is !== "sending" && shown === text.text.length;
    const visible = text.text.slice(0, shown);
    if (visible !== shownText || whole !== shownWhole) {
      if (visible !== shownText) grewAt = Date.now();
      markdown.update(visible, whole);
      [shownText, shownWhole] = [visible, whole];
    }
    element.classList.toggle("growing", !whole && shown > 0);
    const wasBusy = element.getAttribute("aria-busy") === "true";
    element.setAttribute("aria-busy", String(!whole));
    if (wasBusy && whole) onShown(/** @type {Turn} */ (turn));
    drawStatus();
  }

  function drawStatus() {
    const current = /** @type {Turn} */ (turn);
    const { text, status: is } = current;
    // The words about an ending wait until the text has been shown up to there.
    if (is !== "running" && is !== "sending" && shown < text.text.length) return;
    status.update(describeTurn(current, { ...moment, grewAt }));
  }

  return { update };
}

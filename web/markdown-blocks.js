// @ts-check
/**
 * Cuts a growing markdown text into blocks, without reading again what can no longer change.
 *
 * The rule: a block is settled when two more blocks have begun after it. One is not enough: the "2" after a list is a
 * paragraph until ". next" makes it the list's second item. The settled part is not lexed again, so a long answer costs as
 * much per step as a short one; when the answer is whole it is lexed once from the start, and that reading counts.
 */
import { Marked } from "./vendor/marked.esm.js";

const UNSETTLED_BLOCKS = 2;

/** @typedef {import("./vendor/marked.esm.js").Token} Token */

/** HTML in an answer is shown, not obeyed; a picture from elsewhere would tell its host what is being talked about. */
export const markdown = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => escape(text),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    // The title is the name that a screen reader says.
    checkbox: ({ checked }) => `<input type="checkbox" disabled ${checked ? 'checked title="done"' : 'title="open"'}> `,
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6); // the page itself has the first two levels
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

/** A function that is called with the text each time it has changed and returns its blocks. */
export function createBlockSplitter() {
  /** @type {Token[]} */
  let settled = [];
  let settledText = "";

  /** @param {string} source @param {boolean} whole @returns {{blocks: Token[], links: string}} */
  return function split(source, whole) {
    const text = source.replace(/\r\n?/g, "\n"); // as the lexer does, so that lengths agree
    if (whole || !text.startsWith(settledText)) [settled, settledText] = [[], ""];
    const tokens = markdown.lexer(text.slice(settledText.length));
    const links = JSON.stringify(tokens.links);
    const blocks = [...settled, ...tokens.filter(isVisible)];
    if (!whole) settle(tokens);
    return { blocks, links };
  };

  /** @param {Token[]} tokens */
  function settle(tokens) {
    const visible = tokens.filter(isVisible);
    const firstOpen = visible.at(-UNSETTLED_BLOCKS);
    if (visible.length <= UNSETTLED_BLOCKS || firstOpen === undefined) return;
    const done = tokens.slice(0, tokens.indexOf(firstOpen));
    settled = [...settled, ...done.filter(isVisible)];
    settledText += done.map((token) => token.raw).join("");
  }
}

/** @param {Token} token */
function isVisible(token) {
  return token.type !== "space" && token.type !== "def";
}

/** @param {string} text */
export function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

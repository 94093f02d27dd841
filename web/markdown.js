// @ts-check
/**
 * Draws markdown into an element, block by block: only blocks that changed are drawn again.
 *
 * Text of models is hostile until proven otherwise. Raw HTML is shown as text, what the renderer makes is sanitised with a
 * short list of tags and attributes, links open elsewhere without telling where from, and pictures become links.
 */
import DOMPurify from "./vendor/purify.es.js";
import { createBlockSplitter, markdown } from "./markdown-blocks.js";

const RULES = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "checked", "disabled", "href", "start", "title", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "checked", "disabled", "start", "type"], // the rule for addresses is not about these
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (/** @type {Element} */ node) => {
  if (node.tagName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

/** @typedef {import("./markdown-blocks.js").Token} Token */
/** @typedef {{key: string, token: Token, element: HTMLElement, code: Text | null}} Drawn */

/** @param {HTMLElement} element */
export function mountMarkdown(element) {
  const split = createBlockSplitter();
  /** @type {Drawn[]} */
  let drawn = [];

  /** @param {string} text @param {boolean} whole */
  function update(text, whole) {
    const { blocks, links } = split(text, whole);
    const next = blocks.map((token, index) => {
      const old = drawn[index];
      if (old && old.token === token) return old;
      // Definitions of links may come at the very end: then, and only then, blocks with brackets are drawn again.
      const key = `${token.type}\n${token.raw}${whole && token.raw.includes("[") ? links : "{}"}`;
      if (old && old.key === key) return { ...old, token };
      if (old && growCode(old, token)) return { ...old, key, token };
      return draw(key, token, old);
    });
    for (const { element: extra } of drawn.slice(next.length)) extra.remove();
    drawn = next;
  }

  /** @param {string} key @param {Token} token @param {Drawn | undefined} old @returns {Drawn} */
  function draw(key, token, old) {
    const block = old?.element ?? element.appendChild(document.createElement("div"));
    block.className = "block";
    if (token.type === "code") {
      block.dir = "ltr";
      const [figure, code] = codeBlock(token.text, token.lang ?? "");
      block.replaceChildren(figure);
      return { key, token, element: block, code };
    }
    block.dir = "auto";
    block.replaceChildren(sanitised(token));
    for (const table of block.querySelectorAll("table")) frameTable(table);
    return { key, token, element: block, code: null };
  }

  return { update };
}

/** @param {Token} token */
function sanitised(token) {
  return /** @type {DocumentFragment} */ (/** @type {unknown} */ (purifier.sanitize(markdown.parser([token]), RULES)));
}

/** A code block that only grew gets the new text appended: its lines are not laid out anew. @param {Drawn} old @param {Token} token */
function growCode(old, token) {
  if (old.code === null || token.type !== "code" || old.token.type !== "code" || old.token.lang !== token.lang) return false;
  if (!token.text.startsWith(old.token.text)) return false;
  old.code.appendData(token.text.slice(old.token.text.length));
  return true;
}

/** @param {string} text @param {string} info @returns {[HTMLElement, Text]} */
function codeBlock(text, info) {
  const figure = document.createElement("figure");
  figure.className = "code-block";
  const caption = document.createElement("figcaption");
  const language = document.createElement("span");
  language.textContent = info.trim().split(/\s/)[0] || "text";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy";
  copy.textContent = "Copy";
  caption.append(language, copy);
  const pre = document.createElement("pre");
  pre.tabIndex = 0; // scrolls by keyboard
  const code = document.createElement("code");
  const content = document.createTextNode(text);
  code.append(content);
  pre.append(code);
  figure.append(caption, pre);
  return [figure, content];
}

/** A wide table scrolls inside itself. @param {HTMLTableElement} table */
function frameTable(table) {
  const frame = document.createElement("div");
  frame.className = "table-scroll";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Table");
  table.replaceWith(frame);
  frame.append(table);
}

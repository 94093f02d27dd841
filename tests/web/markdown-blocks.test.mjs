import assert from "node:assert/strict";
import { test } from "node:test";
import { createBlockSplitter, markdown } from "../../web/markdown-blocks.js";

const ANSWER = `# Title\r\n\r\nSome *prose*\nover two lines.\n\n- a\n- b\n\n  still b\n\n1. one\n\n2. two\n\n\`\`\`js\nlet x = 1;\n\n\nlet y;\n\`\`\`\n
| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\nlazy\n\nSetext\n======\n\n<div>\nraw\n</div>\n\n***\n\nlast [link][l]\n\n[l]: https://example.org\n`;
const raws = (blocks) => blocks.map((token) => token.raw.trimEnd());

test("blocks of a text that grew step by step are those of the whole text", () => {
  const whole = raws(createBlockSplitter()(ANSWER, true).blocks);
  for (const size of [1, 2, 3, 7, 19, 64]) {
    const split = createBlockSplitter();
    let last = [];
    for (let length = 0; length <= ANSWER.length; length += size) last = split(ANSWER.slice(0, length), false).blocks;
    last = split(ANSWER, false).blocks;
    assert.deepEqual(raws(last), whole, `in steps of ${size}`);
    assert.deepEqual(raws(split(ANSWER, true).blocks), whole);
  }
});

test("a settled block is the same object at every later step", () => {
  const split = createBlockSplitter();
  const text = Array.from({ length: 30 }, (_, index) => `Paragraph ${index}.\n\n`).join("");
  const before = split(text, false).blocks;
  const after = split(`${text}and more`, false).blocks;
  assert.ok(before.slice(0, -2).every((token, index) => split(`${text}and more`, false).blocks[index] === after[index]));
  assert.equal(after.length, 31);
  assert.equal(after[0], split(`${text}and more`, false).blocks[0]);
});

test("a text that starts again is read again", () => {
  const split = createBlockSplitter();
  split("one\n\ntwo\n\nthree\n\nfour", false);
  assert.deepEqual(raws(split("else", false).blocks), ["else"]);
  assert.deepEqual(raws(split("███\n\ntwo\n\nthree\n\nfour", false).blocks), ["███", "two", "three", "four"]);
});

test("html is shown and pictures become links", () => {
  const html = markdown.parser(markdown.lexer("<b>x</b> ![a \"cat\"](https://evil.example/c.png)\n\n<script>alert(1)</script>"));
  assert.doesNotMatch(html, /<(?:b|img|script)\b/);
  assert.match(html, /<a href="https:\/\/evil.example\/c.png">a &#34;cat&#34;<\/a>/);
});

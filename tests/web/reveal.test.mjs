import assert from "node:assert/strict";
import { test } from "node:test";
import { nextShown, wholeCharacters } from "../../web/reveal.js";

const STEP = 33;

test("a burst is spread over several steps and then all is shown", () => {
  const text = "x".repeat(400);
  const steps = [];
  let shown = 0;
  while (shown < text.length) {
    shown = nextShown({ text, shown, endedAt: null, now: 0, stepMs: STEP });
    steps.push(shown);
  }
  assert.ok(steps.length >= 8, `${steps.length} steps`);
  assert.ok(steps[3] > text.length / 2, "the reader is never far behind");
});

test("half a second after the end everything is shown, however much there was", () => {
  for (const length of [1, 10, 500, 100_000]) {
    const text = "x".repeat(length);
    let shown = 0;
    let now = 1000;
    while (shown < text.length) {
      shown = nextShown({ text, shown, endedAt: 1000, now, stepMs: STEP });
      now += STEP;
    }
    assert.ok(now - 1000 <= 400, `${length}: ${now - 1000} ms`);
  }
});

test("a step of nothing shows at once", () => {
  assert.equal(nextShown({ text: "abc", shown: 0, endedAt: null, now: 0, stepMs: 0 }), 3);
});

test("a step never ends inside a character", () => {
  const characters = ["a", "👩‍👩‍👧‍👦", "é", "🇩🇪", "👍🏽", "世", "क्षि"];
  const text = characters.join("").repeat(20);
  const boundaries = new Set([0]);
  for (const { index, segment } of new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)) boundaries.add(index + segment.length);
  let shown = 0;
  while (shown < text.length) {
    const next = wholeCharacters(text, shown, shown + 3);
    assert.ok(next > shown, "it goes on");
    assert.ok(boundaries.has(next), `${next} is inside a character`);
    shown = next;
  }
});

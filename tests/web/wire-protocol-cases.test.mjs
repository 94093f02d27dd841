/** The page's reducer under the cases that any client may be checked against. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isAuthentic } from "../../web/frame-stream.js";
import { EMPTY_TEXT, applyRecord, isWhole } from "../../web/turn-text.js";

const file = new URL("../../docs/wire-protocol-cases.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8"));

for (const { name, frames, after, heard } of cases) {
  test(`${name}: in order`, async () => {
    let state = EMPTY_TEXT;
    for (const [index, frame] of frames.entries()) {
      state = applyRecord(state, frame);
      assert.deepEqual({ text: state.text, generation: state.generation, status: state.end?.status ?? "running" }, after[index]);
    }
    assert.ok(isWhole(state));
    assert.ok(await isAuthentic(state));
  });

  for (const { about, order, text } of heard) {
    test(`${name}: ${about}`, () => {
      let state = EMPTY_TEXT;
      for (const [step, index] of order.entries()) {
        state = applyRecord(state, frames[index]);
        assert.equal(state.text, text[step], `step ${step}`);
      }
      // Whatever was heard before, the journal in order repairs it.
      assert.equal(frames.reduce(applyRecord, state).text, after.at(-1).text);
    });
  }
}

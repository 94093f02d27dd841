import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_TEXT, applyRecord, hasGap, isWhole } from "../../web/turn-text.js";

const fold = (records, from = EMPTY_TEXT) => records.reduce(applyRecord, from);
const frame = (offset, text, generation = 1) => ({ kind: "frame", generation, attempt: 1, seq: 0, offset, text });
const end = (length, generation = 1, status = "completed") => ({ kind: "end", generation, status, finishReason: "stop", length, sha256: null });

/** A small generator with a seed, so that a failure can be repeated. */
function chance(seed) {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return state % limit;
  };
}

function shuffled(items, pick) {
  const result = [...items];
  for (let index = result.length - 1; index > 0; index -= 1) {
    const other = pick(index + 1);
    [result[index], result[other]] = [result[other], result[index]];
  }
  return result;
}

/** A journal as a writer could have written it: frames, restarts and redactions, then the end. */
function randomJournal(pick) {
  const records = [];
  let text = "";
  let generation = 1;
  for (let step = 0; step < 4 + pick(14); step += 1) {
    const what = pick(10);
    if (what === 0) {
      [generation, text] = [generation + 1, ""];
      records.push({ kind: "restart", generation });
    } else if (what === 1 && text.length > 1) {
      const offset = pick(text.length - 1);
      const length = 1 + pick(text.length - offset);
      generation += 1;
      text = text.slice(0, offset) + "█".repeat(length) + text.slice(offset + length);
      records.push({ kind: "redact", generation, offset, length });
    } else {
      const piece = ["kon", "nichi", "wa 👋", "世界", " ", "abcdefgh"][pick(6)];
      records.push(frame(text.length, piece, generation));
      text += piece;
    }
  }
  records.push(end(text.length, generation));
  return { records, text };
}

test("frames in order become the text", () => {
  const state = fold([frame(0, "Kon"), frame(3, "nichi"), frame(8, "wa"), end(10)]);
  assert.equal(state.text, "Konnichiwa");
  assert.ok(isWhole(state));
});

test("any order with any duplicates gives the same text, and whole only when nothing is missing", () => {
  for (let seed = 1; seed <= 600; seed += 1) {
    const pick = chance(seed);
    const { records, text } = randomJournal(pick);
    const doubled = [...records, ...records.filter(() => pick(3) === 0)];
    const state = fold(shuffled(doubled, pick));
    assert.equal(state.text, text, `seed ${seed}`);
    assert.ok(isWhole(state), `seed ${seed}`);
  }
});

test("after losses the journal's records in order repair everything", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const pick = chance(seed);
    const { records, text } = randomJournal(pick);
    const heard = fold(shuffled(records.filter(() => pick(2) === 0), pick));
    const state = fold(records, heard);
    assert.equal(state.text, text, `seed ${seed}`);
    assert.ok(isWhole(state), `seed ${seed}`);
  }
});

test("within a generation text only grows", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const pick = chance(seed);
    let state = EMPTY_TEXT;
    for (const record of shuffled(randomJournal(pick).records, pick)) {
      const next = applyRecord(state, record);
      if (next.generation === state.generation) assert.ok(next.text.startsWith(state.text), `seed ${seed}`);
      state = next;
    }
  }
});

test("a record that changes nothing returns the same state", () => {
  const state = fold([frame(0, "abc"), frame(9, "later"), end(14)]);
  assert.equal(applyRecord(state, frame(0, "abc")), state);
  assert.equal(applyRecord(state, frame(1, "b")), state);
  assert.equal(applyRecord(state, frame(9, "later")), state);
  assert.equal(applyRecord(state, end(14)), state);
  assert.equal(applyRecord(state, { kind: "something-new", generation: 1 }), state);
});

test("a gap is a gap until it is filled", () => {
  const gapped = fold([frame(0, "one "), frame(8, "three")]);
  assert.equal(gapped.text, "one ");
  assert.ok(hasGap(gapped));
  const filled = applyRecord(gapped, frame(4, "two "));
  assert.equal(filled.text, "one two three");
  assert.ok(!hasGap(filled));
});

test("an end with more text than is here is a gap", () => {
  assert.ok(hasGap(fold([frame(0, "abc"), end(4)])));
});

test("frames of a generation nobody introduced are held, and what was known stays", () => {
  const state = fold([frame(0, "secret"), frame(6, " more", 2)]);
  assert.equal(state.text, "secret");
  assert.ok(hasGap(state));
  const covered = applyRecord(state, { kind: "redact", generation: 2, offset: 0, length: 6 });
  assert.equal(covered.text, "██████ more");
});

test("a late frame from before a redaction arrives covered", () => {
  const state = fold([frame(0, "my "), { kind: "redact", generation: 2, offset: 0, length: 9 }, frame(3, "secret")]);
  assert.equal(state.text, "█████████");
});

test("frames from before a restart are dropped", () => {
  const state = fold([frame(0, "old"), { kind: "restart", generation: 2 }, frame(3, " older"), frame(0, "new", 2)]);
  assert.equal(state.text, "new");
  assert.ok(!hasGap(state));
});

test("text after the end does not count", () => {
  const late = [frame(0, "kept"), frame(4, " too late")];
  assert.equal(fold([...late, end(4)]).text, "kept");
  assert.equal(fold([end(4), ...late]).text, "kept");
  assert.ok(isWhole(fold([end(4), ...late])));
});

test("the first end decides", () => {
  const state = fold([frame(0, "ab"), end(2, 1, "stopped"), end(2, 1, "completed")]);
  assert.equal(state.end.status, "stopped");
});

test("the latest wait counts, and any record tells of its attempt", () => {
  const early = { kind: "wait", until: "2026-01-01T10:00:00Z", code: "rate_limited" };
  const late = { kind: "wait", until: "2026-01-01T10:32:05Z", code: "rate_limited" };
  assert.equal(fold([late, early]).waitUntil, late.until);
  assert.equal(fold([{ kind: "claim", attempt: 2 }]).attempt, 2);
});

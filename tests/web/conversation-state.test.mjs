import assert from "node:assert/strict";
import { test } from "node:test";
import * as conversation from "../../web/conversation-state.js";

const NOW = 1_000;
const frame = (offset, text) => ({ kind: "frame", generation: 1, attempt: 1, offset, text });
const end = (length, status = "completed", error = null) => ({ kind: "end", generation: 1, status, length, sha256: null, error });
const empty = () => conversation.emptyConversation("c");
const said = (turnId, prompt, answer, status = "completed") => [
  { role: "user", content: prompt, turnId, status },
  ...(answer === null ? [] : [{ role: "assistant", content: answer, turnId, status }]),
];
const merge = (state, ...pairs) => conversation.mergeStored(state, { title: null, messages: pairs.flat() }, NOW);

test("a stored conversation becomes turns with their answers", () => {
  const state = merge(empty(), said("t1", "hi", "hello"), said("t2", "more", null, "running"));
  assert.deepEqual(state.turns.map((turn) => [turn.prompt, turn.text.text, turn.status]), [["hi", "hello", "completed"], ["more", "", "running"]]);
});

test("a sent message becomes a running turn under the same key", () => {
  const sent = conversation.addSend(empty(), { key: "k", prompt: "hi", now: NOW });
  const accepted = conversation.acceptSend(sent, "k", "t1");
  assert.deepEqual([accepted.turns[0].key, accepted.turns[0].turnId, accepted.turns[0].status], ["k", "t1", "running"]);
});

test("frames that are faster than the answer to the POST are kept", () => {
  let state = conversation.addSend(empty(), { key: "k", prompt: "hi", now: NOW });
  state = conversation.applyFrame(state, "t1", frame(0, "fast"));
  state = conversation.acceptSend(state, "k", "t1");
  assert.equal(state.turns[0].text.text, "fast");
  assert.deepEqual(state.strays, {});
});

test("a turn that the server told of before its POST was answered appears once", () => {
  let state = conversation.addSend(empty(), { key: "k", prompt: "hi", now: NOW });
  state = merge(state, said("t1", "hi", null, "running"));
  state = conversation.acceptSend(state, "k", "t1");
  assert.deepEqual(state.turns.map((turn) => turn.key), ["k"]);
});

test("what the page follows is not exchanged for an older reading", () => {
  let state = merge(empty(), said("t1", "hi", null, "running"));
  state = conversation.applyFrame(state, "t1", frame(0, "growing"));
  const again = merge(state, said("t1", "hi", null, "running"));
  assert.equal(again.turns, state.turns);
  state = conversation.finishTurn(conversation.applyFrame(state, "t1", end(7)), "t1");
  assert.equal(merge(state, said("t1", "hi", null, "running")).turns[0].status, "completed");
});

test("a turn asked elsewhere takes its place in the server's order", () => {
  let state = merge(empty(), said("t2", "second", "b"));
  state = merge(state, said("t1", "first", "a"), said("t2", "second", "b"));
  assert.deepEqual(state.turns.map((turn) => turn.turnId), ["t1", "t2"]);
});

test("a finished turn does not change any more", () => {
  let state = merge(empty(), said("t1", "hi", "hello"));
  assert.equal(conversation.applyFrame(state, "t1", frame(5, " again")), state);
});

test("a failed turn says why", () => {
  const error = { code: "stalled", message: "The model fell silent.", retryable: true };
  let state = merge(empty(), said("t1", "hi", null, "running"));
  state = conversation.finishTurn(conversation.applyFrame(state, "t1", end(0, "failed", error)), "t1");
  assert.deepEqual([state.turns[0].status, state.turns[0].problem], ["failed", error]);
});

test("a lost turn is mended by a stored answer", () => {
  let state = merge(empty(), said("t1", "hi", null, "running"));
  state = conversation.loseTurn(state, "t1", { code: "not_found", message: "gone" });
  state = merge(state, said("t1", "hi", "hello"));
  assert.deepEqual([state.turns[0].status, state.turns[0].text.text], ["completed", "hello"]);
});

test("messages without a turn id are paired by their order", () => {
  const state = merge(empty(), [{ role: "user", content: "q" }, { role: "assistant", content: "a" }]);
  assert.deepEqual(state.turns.map((turn) => [turn.prompt, turn.text.text]), [["q", "a"]]);
});

test("a reading of the newest turns leaves the earlier ones where they are", () => {
  let state = merge(empty(), said("t1", "one", "a"), said("t2", "two", "b"));
  state = conversation.addSend(state, { key: "k", prompt: "here", now: NOW });
  state = merge(state, said("t2", "two", "b"), said("t3", "elsewhere", "c"));
  assert.deepEqual(state.turns.map((turn) => turn.turnId ?? turn.key), ["t1", "t2", "t3", "k"]);
});

test("a stop is for the first turn on its way that was not asked yet", () => {
  let state = conversation.addSend(conversation.emptyConversation("c"), { key: "one", prompt: "p", now: 0 });
  state = conversation.addSend(state, { key: "two", prompt: "p", now: 0 });
  assert.equal(conversation.turnToStop(state).key, "one");
  state = conversation.acceptSend(conversation.askStop(state, "one"), "one", "t1");
  assert.deepEqual([state.turns[0].status, state.turns[0].stop], ["running", "asked"]);
  assert.equal(conversation.turnToStop(state).key, "two");
  state = conversation.askStop(state, "two");
  assert.equal(conversation.turnToStop(state), null);
  const refused = conversation.refuseStop(state, "t1", { code: "x", message: "No" });
  assert.equal(conversation.turnToStop(refused).key, "one");
});

test("a turn that has ended is not asked to stop", () => {
  let state = conversation.addSend(conversation.emptyConversation("c"), { key: "k", prompt: "p", now: 0 });
  state = conversation.acceptSend(state, "k", "t");
  state = conversation.finishTurn(conversation.applyFrame(state, "t", { kind: "end", status: "completed", length: 0 }), "t");
  assert.equal(conversation.askStop(state, "k"), state);
  assert.equal(conversation.turnToStop(state), null);
});

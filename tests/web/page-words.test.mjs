import assert from "node:assert/strict";
import { test } from "node:test";
import { CONNECTING, changeConnection, describeConnection } from "../../web/connection-status.js";
import * as conversation from "../../web/conversation-state.js";
import { describeTurn } from "../../web/turn-status.js";

const records = (...all) => {
  let state = conversation.addSend(conversation.emptyConversation("c"), { key: "k", prompt: "p", now: 0 });
  state = conversation.acceptSend(state, "k", "t");
  for (const record of all) state = conversation.applyFrame(state, "t", { generation: 1, attempt: 1, ...record });
  return conversation.finishTurn(state, "t").turns[0];
};
const at = (now, grewAt = 0) => ({ now, grewAt, online: true, answering: true, behind: false });
const refused = (problem) => {
  const sent = conversation.addSend(conversation.emptyConversation("c"), { key: "k", prompt: "p", now: 0 });
  return conversation.rejectSend(sent, "k", { code: "x", message: "No", ...problem }).turns[0];
};

test("the first two seconds are dots without words", () => {
  assert.deepEqual([describeTurn(records(), at(1999)).dots, describeTurn(records(), at(1999)).words], [true, ""]);
  assert.equal(describeTurn(records(), at(2000)).words, "waiting for the model");
});

test("a wait tells until when and why, and is over when it is over", () => {
  const until = new Date(60_000);
  const turn = records({ kind: "wait", until: until.toISOString(), code: "rate_limited" });
  const clock = until.toLocaleTimeString("en-GB");
  assert.equal(describeTurn(turn, at(0)).words, `waiting until ${clock} (60 s): the service is busy`);
  assert.equal(describeTurn(turn, at(56_200)).words, `waiting until ${clock} (4 s): the service is busy`);
  assert.equal(describeTurn(turn, at(61_000)).words, "waiting for the model");
});

test("a turn behind a running one says so, and no longer once its own text comes", () => {
  const behind = (now) => ({ ...at(now), behind: true });
  assert.equal(describeTurn(records(), behind(1999)).words, "");
  assert.equal(describeTurn(records(), behind(2000)).words, "an earlier answer comes first");
  assert.equal(describeTurn(records({ kind: "frame", offset: 0, text: "abc" }), behind(9000)).words, "waiting for the model");
});

test("a second attempt is told", () => {
  assert.equal(describeTurn(records({ kind: "claim", attempt: 2 }), at(3000)).words, "second attempt");
});

test("flowing text needs no words, silence after it does", () => {
  const turn = records({ kind: "frame", offset: 0, text: "abc" });
  assert.deepEqual([describeTurn(turn, at(9000, 8000)).dots, describeTurn(turn, at(9000, 8000)).words], [false, ""]);
  assert.equal(describeTurn(turn, at(9000, 1000)).words, "waiting for the model");
});

test("a long silence is told apart from a short one", () => {
  const turn = records({ kind: "frame", offset: 0, text: "abc" });
  assert.equal(describeTurn(turn, at(28_999, 9000)).words, "waiting for the model");
  assert.equal(describeTurn(turn, at(29_000, 9000)).words, "still waiting for the model");
  const second = records({ kind: "frame", attempt: 2, offset: 0, text: "abc" });
  assert.equal(describeTurn(second, at(29_000, 9000)).words, "second attempt, still waiting");
  assert.equal(describeTurn(turn, { ...at(90_000), behind: true }).words, "still waiting for the model");
  assert.equal(describeTurn(records(), { ...at(90_000), behind: true }).words, "an earlier answer comes first");
});

test("while the server owes an answer nothing is said of the model", () => {
  const away = (now, more) => ({ ...at(now), answering: false, ...more });
  for (const turn of [records(), records({ kind: "frame", offset: 0, text: "abc" }), records({ kind: "frame", attempt: 2, offset: 0, text: "abc" })]) {
    for (const more of [{}, { online: false }, { behind: true }]) {
      assert.equal(describeTurn(turn, away(9000, more)).words, "waiting for the server");
      assert.equal(describeTurn(turn, away(90_000, more)).words, "waiting for the server");
    }
  }
});

test("an answer that is overdue is owed until there is one", () => {
  const well = changeConnection(CONNECTING, { live: true, reachable: true, now: 0 });
  const overdue = changeConnection(well, { overdue: true, now: 1 });
  assert.deepEqual([overdue.answering, overdue.reachable, overdue.downSince], [false, true, null]);
  assert.equal(changeConnection(overdue, { live: true, now: 2 }).answering, false);
  assert.equal(changeConnection(overdue, { reachable: false, now: 2 }).answering, false);
  assert.equal(changeConnection(overdue, { reachable: true, now: 2 }).answering, true);
});

test("a stop on its way is told, whatever else there would be to tell", () => {
  const wait = { kind: "wait", until: new Date(60_000).toISOString(), code: "rate_limited" };
  for (const turn of [records(), records({ kind: "frame", offset: 0, text: "abc" }), records(wait)]) {
    assert.equal(describeTurn({ ...turn, stop: "asked" }, at(0)).words, "stopping");
    const away = describeTurn({ ...turn, stop: "asked" }, { ...at(0), online: false });
    assert.equal(away.words, "stopping: no connection, trying again");
    const refusal = { code: "foreign_origin", message: "Not from here" };
    assert.equal(describeTurn({ ...turn, stop: refusal }, at(0)).words, "this could not be stopped: Not from here.");
  }
});

test("each ending has its sentence and its button", () => {
  const ended = (status, text, more = {}) => {
    const { words, action } = describeTurn(records({ kind: "frame", offset: 0, text }, { kind: "end", status, length: text.length, ...more }), at(0));
    return [words, action?.label ?? null];
  };
  assert.deepEqual(ended("completed", "abc"), ["", null]);
  assert.deepEqual(ended("completed", ""), ["The model gave an empty answer.", "Try again"]);
  assert.deepEqual(ended("completed", "abc", { finishReason: "length" }), ["This answer ends here because it reached its length limit.", null]);
  assert.deepEqual(ended("filtered", "abc"), ["The content filter withheld the rest of this answer.", "Rephrase"]);
  assert.deepEqual(ended("filtered", ""), ["The content filter withheld this answer.", "Rephrase"]);
  assert.deepEqual(ended("stopped", "abc"), ["Stopped here.", "Try again"]);
  assert.deepEqual(ended("stopped", ""), ["Stopped before the answer began.", "Try again"]);
  const error = { code: "stalled", message: "The model fell silent", retryable: true };
  assert.deepEqual(ended("failed", "abc", { error }), ["This answer broke off. The model fell silent.", "Try again"]);
  assert.deepEqual(ended("failed", "", { error: { ...error, retryable: false } }), ["There is no answer to this. The model fell silent.", "Rephrase"]);
  assert.deepEqual(ended("rejected", "", { error }), ["There is no answer to this. The model fell silent.", "Try again"]);
  assert.deepEqual(ended("failed", "", { error: { ...error, code: "context_length_exceeded" } }), ["There is no answer to this. The model fell silent.", "Shorten"]);
});

test("each refusal of a message has the button that helps", () => {
  const label = (problem) => describeTurn(refused(problem), at(0)).action.label;
  assert.equal(label({ status: 401 }), "Sign in");
  assert.equal(label({ status: 403 }), "Sign in");
  assert.equal(label({ status: 413 }), "Shorten");
  assert.equal(label({ status: 400 }), "Rephrase");
  assert.equal(label({ status: 409 }), "Try again");
  assert.equal(label({}), "Try again");
});

test("a limit counts down to the moment when trying again can help", () => {
  const turn = refused({ status: 429, retryAt: 5000 });
  const early = describeTurn(turn, at(1000)).action;
  assert.deepEqual([early.label, early.disabled], ["Try again in 4 s", true]);
  assert.equal(describeTurn(turn, at(5000)).action.label, "Try again");
});

test("a connection that heals within three seconds is not mentioned", () => {
  const down = changeConnection(changeConnection(CONNECTING, { live: true, now: 0 }), { live: false, now: 1000 });
  assert.equal(describeConnection(down, 3999), "");
  assert.match(describeConnection(down, 4000), /^Reconnecting/);
  assert.match(describeConnection(changeConnection(down, { reachable: false, now: 2000 }), 4000), /^Disconnected/);
  assert.equal(describeConnection(changeConnection(down, { live: true, now: 9000 }), 9000), "");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { isConversationId, newId } from "../../web/conversation-id.js";

test("every id that the page makes up is one that the server takes", () => {
  // One random id in 32 used to begin with a "-" or "_" and was refused; a thousand leave no doubt.
  const made = Array.from({ length: 1000 }, newId);
  assert.deepEqual(made.filter((id) => !/^[0-9a-f]{32}$/.test(id)), []);
  assert.equal(new Set(made).size, made.length);
});

test("an address may hold any id that the server takes, and no other", () => {
  for (const id of ["a", "7", "walk", "trip.to~the-sea_2", "x".repeat(128)]) assert.ok(isConversationId(id), id);
  for (const id of [null, "", "-a", "_a", ".a", "~a", "a/b", "a b", "é", "a\n", "x".repeat(129)]) {
    assert.ok(!isConversationId(id), String(id));
  }
});

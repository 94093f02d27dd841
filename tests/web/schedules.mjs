/**
 * The page's reducer under every order that a bad day may bring. `node schedules.mjs WEB_FOLDER`, with one JSON line on
 * standard input: {"scripts", "schedules", "orders", "seed"} (tests/web/journals.py makes the scripts). Prints {"schedules",
 * "orders", "violations"}: what was tried, and the first sentences about what went wrong.
 *
 * A schedule is a random life of one page: messages are dropped, doubled, late, swapped; the connection breaks and comes
 * back, which reads the journal from where the page left it; the answer to the POST comes before or after the first
 * messages. At each step what is shown must be a beginning of the final text of its generation, and may shrink only when
 * a new generation begins. At the end the journal is read to its end, and the text must be whole.
 */
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const web = (name) => import(pathToFileURL(join(process.argv[2], name)).href);
const { acceptSend, addSend, applyFrame, emptyConversation, findTurn, finishTurn, mergeStored } = await web("conversation-state.js");
const { EMPTY_TEXT, applyRecord, hasGap, isWhole } = await web("turn-text.js");
const { isAuthentic } = await web("frame-stream.js");

const TURN = "turn";
const SHOWN_VIOLATIONS = 5;

/** A small generator with a seed, so that a failure can be repeated: mulberry32. @param {number} seed */
function chance(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return { happens: (ratio) => next() < ratio, below: (limit) => Math.floor(next() * limit) };
}

/** What a page shows, watched. */
function screen(script) {
  let shown = EMPTY_TEXT;
  return (text) => {
    const final = script.finals[text.generation];
    if (final === undefined) throw new Error(`shows generation ${text.generation}, which the journal does not have`);
    if (!final.startsWith(text.text)) throw new Error(`shows ${JSON.stringify(text.text)}, no beginning of ${JSON.stringify(final)}`);
    if (text.generation < shown.generation) throw new Error("went back to an older generation");
    if (text.generation === shown.generation && !text.text.startsWith(shown.text)) {
      throw new Error(`${JSON.stringify(shown.text)} became ${JSON.stringify(text.text)} in one generation`);
    }
    if (isWhole(text) && text.text !== script.text) throw new Error(`takes ${JSON.stringify(text.text)} for the whole answer`);
    shown = text;
  };
}

/** What arrives at which step: [step, record], and the steps at which the connection comes back. */
function weather(script, pick) {
  const bad = { drop: pick.below(6) / 10, duplicate: pick.below(5) / 10, late: pick.below(3) * 4, cut: pick.below(3) / 10 };
  const arrivals = [];
  const returns = [];
  let away = 0;
  script.messages.forEach((message, index) => {
    if (away > 0) {
      away -= 1;
      if (away === 0) returns.push(index);
      return;
    }
    if (pick.happens(bad.cut)) away = 1 + pick.below(6);
    if (pick.happens(bad.drop)) return;
    const copies = pick.happens(bad.duplicate) ? 2 + pick.below(2) : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      arrivals.push({ at: index + pick.below(1 + bad.late), tie: pick.below(1000), record: message.record });
    }
  });
  arrivals.sort((one, other) => one.at - other.at || one.tie - other.tie);
  return { arrivals, returns };
}

/** One life of a page. */
async function live(script, seed) {
  const pick = chance(seed);
  const { arrivals, returns } = weather(script, pick);
  const check = screen(script);
  const patience = pick.below(4) / 10; // how often a page that sees a gap asks the journal at this step
  let state = emptyConversation("talk");
  const accepted = pick.below(4);
  state = addSend(state, { key: "key", prompt: "Why?", now: 0 });
  let position = 0;

  const text = () => findTurn(state, TURN)?.text ?? state.strays[TURN] ?? EMPTY_TEXT;
  const hear = (record) => {
    state = applyFrame(state, TURN, record);
    check(text());
  };
  const catchUp = (end) => {
    for (const record of script.journal.slice(position, end)) hear(record);
    position = Math.max(position, end);
  };
  const last = Math.max(script.messages.length, ...arrivals.map(({ at }) => at)) + 1;
  for (let step = 0; step < last; step += 1) {
    const stored = step < script.messages.length ? script.messages[step].after : script.journal.length;
    if (step === accepted) {
      state = acceptSend(state, "key", TURN);
      check(text());
    }
    if (pick.happens(0.05)) {
      const messages = [{ role: "user", content: "Why?", turnId: TURN, status: "running" }];
      state = mergeStored(state, { messages }, 0);
      check(text());
    }
    for (const { record } of arrivals.filter(({ at }) => at === step)) hear(record);
    if (step < accepted) continue; // until the POST is answered nobody asks the journal
    if (returns.includes(step) || (hasGap(text()) && pick.happens(patience))) catchUp(stored);
  }
  if (accepted >= last) state = acceptSend(state, "key", TURN);
  if (!isWhole(text()) || !(await isAuthentic(text()))) catchUp(script.journal.length);
  await checkWhole(text(), script);
  state = finishTurn(state, TURN);
  const turn = findTurn(state, TURN);
  if (turn?.status !== script.status) throw new Error(`ended as ${turn?.status}, not as ${script.status}`);
  if (applyFrame(state, TURN, script.journal[0]) !== state) throw new Error("a late record changed a finished answer");
}

async function checkWhole(text, script) {
  if (text.text !== script.text) throw new Error(`is ${JSON.stringify(text.text)} after catching up, not ${JSON.stringify(script.text)}`);
  if (!isWhole(text) || hasGap(text)) throw new Error("does not know that it is whole");
  if (!(await isAuthentic(text))) throw new Error("is not what the end's length and hash say");
}

/** Every order of the journal's records: [how many, the first complaint]. */
function everyOrder(script) {
  const records = script.journal;
  let count = 0;
  const walk = (state, left, shown) => {
    if (left.length === 0) {
      count += 1;
      if (state.text !== script.text || !isWhole(state)) throw new Error(`an order ends with ${JSON.stringify(state.text)}`);
    }
    left.forEach((record, index) => {
      const next = applyRecord(state, record);
      if (applyRecord(next, record) !== next) throw new Error(`a second ${record.kind} of the same place changes something`);
      const check = screen(script);
      check(shown);
      check(next);
      walk(next, left.filter((_, other) => other !== index), next);
    });
  };
  walk(EMPTY_TEXT, records, EMPTY_TEXT);
  return count;
}

async function main() {
  let input = "";
  for await (const piece of process.stdin) input += piece;
  const { scripts, schedules, orders, seed } = JSON.parse(input);
  const result = { schedules: 0, orders: 0, violations: [] };
  const attempt = async (what, action) => {
    try {
      await action();
    } catch (error) {
      if (result.violations.length < SHOWN_VIOLATIONS) result.violations.push(`${what}: ${error.message}`);
    }
  };
  for (let number = 0; number < schedules && result.violations.length === 0; number += 1) {
    await attempt(`seed ${seed + number}, script ${number % scripts.length}`, () => live(scripts[number % scripts.length], seed + number));
    result.schedules += 1;
  }
  for (const [index, script] of orders.entries()) {
    if (result.violations.length > 0) break;
    await attempt(`every order of script ${index}`, () => {
      result.orders += everyOrder(script);
    });
  }
  console.log(JSON.stringify(result));
}
await main();

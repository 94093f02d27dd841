// What the page's own reducer shows of each turn: [[turn id, records], ...] in, [[turn id, [[generation, text], ...]], ...] out.
import { EMPTY_TEXT, applyRecord } from "../../web/turn-text.js";

let input = "";
for await (const piece of process.stdin) input += piece;
const shown = JSON.parse(input).map(([turnId, records]) => {
  let state = EMPTY_TEXT;
  const paints = [];
  for (const record of records) {
    const next = applyRecord(state, record);
    if (next.text !== state.text || next.generation !== state.generation) paints.push([next.generation, next.text]);
    state = next;
  }
  return [turnId, paints];
});
process.stdout.write(JSON.stringify(shown));

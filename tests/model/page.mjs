// Reads lines of JSON {records, orders} and answers each with what the page's reducer shows after each record of each
// order: {text, generation, whole}.
import { createInterface } from "node:readline";
import { EMPTY_TEXT, applyRecord, isWhole } from "../../web/turn-text.js";

for await (const line of createInterface({ input: process.stdin })) {
  const { records, orders } = JSON.parse(line);
  const shown = orders.map((order) => {
    let state = EMPTY_TEXT;
    return order.map((place) => {
      state = applyRecord(state, records[place]);
      return { text: state.text, generation: state.generation, whole: isWhole(state) };
    });
  });
  console.log(JSON.stringify(shown));
}

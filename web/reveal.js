// @ts-check
/**
 * How much of an answer to show: text arrives in bursts, and is revealed in even steps.
 *
 * The rule: a step shows a part of the backlog, so a reader sees a steady flow that is never far behind; once the answer
 * is complete the rest appears within `DRAIN_MS`. A step never ends inside a character as people see it (a surrogate
 * pair, a joined emoji, a letter with its accents).
 */

const BACKLOG_STEPS = 4; // a burst of 100 ms is spread over about as long a time at 33 ms a step
const DRAIN_MS = 330; // leaves room below the half second that nobody should wait for text that is here
const LONGEST_CHARACTER = 64; // UTF-16 units looked at beyond a cut; families and flags of emoji need about 25

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/**
 * The length to show next.
 * @param {{text: string, shown: number, endedAt: number | null, now: number, stepMs: number}} from
 */
export function nextShown({ text, shown, endedAt, now, stepMs }) {
  const backlog = text.length - shown;
  if (backlog <= 0) return text.length;
  if (stepMs <= 0) return text.length;
  const steps = endedAt === null ? BACKLOG_STEPS : Math.floor((endedAt + DRAIN_MS - now) / stepMs);
  if (steps <= 1) return text.length;
  return wholeCharacters(text, shown, shown + Math.ceil(backlog / steps));
}

/** The last boundary between characters at or before `wanted`, but at least one character after `from`. @param {string} text @param {number} from @param {number} wanted */
export function wholeCharacters(text, from, wanted) {
  if (wanted >= text.length) return text.length;
  const start = Math.max(from, wanted - LONGEST_CHARACTER);
  const near = text.slice(start, wanted + LONGEST_CHARACTER);
  let cut = from;
  for (const { index, segment } of segmenter.segment(near)) {
    const end = start + index + segment.length;
    if (end > wanted) return cut > from ? cut : end;
    cut = end;
  }
  return cut;
}

// @ts-check
/**
 * The text of one answer, put together from records that may come twice, late and in any order.
 *
 * Theory of operation. Every piece of text says where it belongs: a generation and an offset in UTF-16 units. A generation
 * after the first is introduced by a `restart` (the text starts again) or a `redact` (a span of the text so far is covered
 * with as many `█`, so offsets stay what they were). Hence the text is a function of the *set* of records that were heard:
 *
 * - a piece is placed when the text reaches its offset and its generation has been introduced; until then it is held;
 * - a piece older than the last restart is dropped; one older than a redaction is covered where the redaction says so;
 * - what is placed is never changed by another piece, so within a generation text only grows.
 *
 * `applyRecord` is pure: it returns the same object when a record changed nothing. `hasGap` tells when only the journal
 * can help. Whether the text is the right one is decided by the length and hash in `end`, see frame-stream.js.
 */

const FIRST_GENERATION = 1;
const COVER = "█";

/**
 * @typedef {{kind: string, generation?: number, attempt?: number, offset?: number, length?: number, text?: string,
 *   until?: string, code?: string, status?: string, finishReason?: string | null, sha256?: string | null,
 *   error?: TurnError | null}} TurnRecord one line of the journal as the wire has it
 * @typedef {{code: string, message: string, retryable?: boolean}} TurnError
 * @typedef {{generation: number, offset: number, text: string}} Piece
 * @typedef {{generation: number, offset: number, length: number}} Cover
 * @typedef {{status: string, finishReason: string | null, length: number | null, sha256: string | null,
 *   error: TurnError | null}} TurnEnd
 * @typedef {{text: string, generation: number, root: number, latest: number, covers: Cover[], held: Piece[],
 *   heldCovers: Cover[], attempt: number, waitUntil: string | null, end: TurnEnd | null}} TurnText
 */

/** @type {Readonly<TurnText>} */
export const EMPTY_TEXT = Object.freeze({
  text: "",
  generation: FIRST_GENERATION, // the newest generation that was introduced
  root: FIRST_GENERATION, // the generation of the last restart: nothing older counts
  latest: FIRST_GENERATION, // the newest generation that was heard of
  covers: [],
  held: [],
  heldCovers: [],
  attempt: 1,
  waitUntil: null,
  end: null,
});

/**
 * @param {TurnText} state
 * @param {TurnRecord} record
 * @returns {TurnText}
 */
export function applyRecord(state, record) {
  const seen = notice(state, record);
  switch (record.kind) {
    case "frame":
      return applyPiece(seen, record);
    case "restart":
      return applyRestart(seen, generationOf(record));
    case "redact":
      return applyRedact(seen, record);
    case "wait":
      return applyWait(seen, record);
    case "end":
      return applyEnd(seen, record);
    default:
      return seen; // a newer server may tell more than this page knows
  }
}

/** Only the journal can fill what is missing. @param {TurnText} state */
export function hasGap(state) {
  if (state.held.length > 0 || state.latest > state.generation) return true;
  return state.end !== null && state.end.length !== null && state.text.length < state.end.length;
}

/** The end is known and all of its text is here. @param {TurnText} state */
export function isWhole(state) {
  return state.end !== null && !hasGap(state);
}

/** @param {TurnRecord} record */
function generationOf(record) {
  return record.generation ?? FIRST_GENERATION;
}

/** Every record tells which attempt and which generation exist by now. @param {TurnText} state @param {TurnRecord} record */
function notice(state, record) {
  const attempt = Math.max(state.attempt, record.attempt ?? 1);
  const latest = Math.max(state.latest, generationOf(record));
  return attempt === state.attempt && latest === state.latest ? state : { ...state, attempt, latest };
}

/** @param {TurnText} state @param {TurnRecord} record */
function applyPiece(state, record) {
  const piece = { generation: generationOf(record), offset: record.offset ?? 0, text: record.text ?? "" };
  if (piece.generation < state.root || piece.text === "") return state;
  if (canPlace(state, piece)) {
    const placed = place(state, piece);
    return placed === state ? state : drain(placed);
  }
  if (state.held.some((other) => isSamePiece(other, piece))) return state;
  return { ...state, held: [...state.held, piece] };
}

/** @param {TurnText} state @param {number} generation */
function applyRestart(state, generation) {
  if (generation <= state.root) return state;
  const restarted = {
    ...state,
    text: "",
    root: generation,
    generation,
    covers: [],
    held: state.held.filter((piece) => piece.generation >= generation),
    heldCovers: state.heldCovers.filter((cover) => cover.generation > generation),
  };
  return drain(restarted);
}

/** @param {TurnText} state @param {TurnRecord} record */
function applyRedact(state, record) {
  // A redaction that does not say what it covers announces its generation; the journal has the rest.
  if (record.offset === undefined || record.length === undefined) return state;
  const cover = { generation: generationOf(record), offset: record.offset, length: record.length };
  if (cover.generation <= state.generation) return state;
  if (state.heldCovers.some((other) => other.generation === cover.generation)) return state;
  return drain({ ...state, heldCovers: [...state.heldCovers, cover] });
}

/** @param {TurnText} state @param {TurnRecord} record */
function applyWait(state, record) {
  if (!record.until || (state.waitUntil !== null && Date.parse(record.until) <= Date.parse(state.waitUntil))) return state;
  return { ...state, waitUntil: record.until };
}

/** @param {TurnText} state @param {TurnRecord} record */
function applyEnd(state, record) {
  if (state.end !== null) return state; // the first end decides
  const end = {
    status: record.status ?? "completed",
    finishReason: record.finishReason ?? null,
    length: record.length ?? null,
    sha256: record.sha256 ?? null,
    error: record.error ?? null,
  };
  return clip({ ...state, end });
}

/** Introduces and places whatever was held and has become possible. @param {TurnText} state @returns {TurnText} */
function drain(state) {
  let current = state;
  for (;;) {
    const before = current;
    const cover = current.heldCovers.find((other) => other.generation === before.generation + 1);
    if (cover) current = introduce(current, cover);
    const piece = current.held.find((other) => canPlace(before, other));
    if (piece) {
      current = place({ ...current, held: current.held.filter((other) => other !== piece) }, piece);
    }
    if (current === before) return clip(current);
  }
}

/** @param {TurnText} state @param {Cover} cover @returns {TurnText} */
function introduce(state, cover) {
  return {
    ...state,
    generation: cover.generation,
    covers: [...state.covers, cover],
    heldCovers: state.heldCovers.filter((other) => other !== cover),
    text: covered(state.text, 0, [cover]),
  };
}

/** @param {TurnText} state @param {Piece} piece */
function canPlace(state, piece) {
  return piece.generation <= state.generation && piece.offset <= state.text.length;
}

/** @param {TurnText} state @param {Piece} piece @returns {TurnText} */
function place(state, piece) {
  const fresh = piece.text.slice(state.text.length - piece.offset);
  if (fresh === "") return state;
  const later = state.covers.filter((cover) => cover.generation > piece.generation);
  return clip({ ...state, text: state.text + covered(fresh, state.text.length, later) });
}

/** `text`, which begins at `start`, with the spans of `covers` blacked out. @param {string} text @param {number} start @param {Cover[]} covers */
function covered(text, start, covers) {
  let result = text;
  for (const cover of covers) {
    const from = Math.max(cover.offset - start, 0);
    const to = Math.min(cover.offset + cover.length - start, text.length);
    if (from < to) result = result.slice(0, from) + COVER.repeat(to - from) + result.slice(to);
  }
  return result;
}

/** Text after the end does not count: a stop cuts off what was on its way. @param {TurnText} state @returns {TurnText} */
function clip(state) {
  const length = state.end?.length ?? null;
  if (length === null || state.latest > state.generation) return state;
  const held = state.held.filter((piece) => piece.offset < length);
  if (state.text.length <= length && held.length === state.held.length) return state;
  return { ...state, text: state.text.slice(0, length), held };
}

/** @param {Piece} one @param {Piece} other */
function isSamePiece(one, other) {
  return one.generation === other.generation && one.offset === other.offset && one.text.length === other.text.length;
}

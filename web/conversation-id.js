// @ts-check
/** The ids that the page makes up, and which ids in an address the server would take (`chat/turn.py`). */

const CONVERSATION_ID = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$/;

/** @param {string | null} text @returns {text is string} */
export function isConversationId(text) {
  return text !== null && CONVERSATION_ID.test(text);
}

/** 128 random bits in hex: an id has to begin with a letter or digit, and base64's "-" and "_" would stand there at times. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// @ts-check
/** The line about the connection: silent while it heals by itself within three seconds, and silent when all is well. */

const SILENT_MS = 3000;

/**
 * @typedef {{live: boolean, reachable: boolean, answering: boolean, downSince: number | null}} ConnectionState
 *   live: SignalR is up; reachable: the last request was answered; answering: and none has been due for long since;
 *   downSince: since when SignalR is down or the server not reachable
 */

/** @type {ConnectionState} */
export const CONNECTING = { live: false, reachable: true, answering: true, downSince: null };

/** @param {ConnectionState} state @param {{live?: boolean, reachable?: boolean, overdue?: boolean, now: number}} change @returns {ConnectionState} */
export function changeConnection(state, { live = state.live, reachable, overdue = false, now }) {
  const answering = !overdue && (reachable ?? state.answering);
  reachable ??= state.reachable;
  const well = live && reachable;
  return { live, reachable, answering, downSince: well ? null : (state.downSince ?? now) };
}

/** @param {ConnectionState} state @param {number} now */
export function describeConnection({ reachable, downSince }, now) {
  if (downSince === null || now - downSince < SILENT_MS) return "";
  return reachable ? "Reconnecting. Answers keep coming in the meantime." : "Disconnected, reconnecting. Nothing that was written is lost.";
}

/** @param {HTMLElement} element */
export function mountConnectionStatus(element) {
  return {
    /** @param {ConnectionState} state @param {number} now */
    update(state, now) {
      const words = describeConnection(state, now);
      if (element.textContent !== words) element.textContent = words;
    },
  };
}

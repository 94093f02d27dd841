// @ts-check
/**
 * What stands on the page while there is no conversation to see: an invitation, or why it could not be loaded.
 * Up events: `send-prompt` {prompt}, `load-conversation`, `sign-in`.
 */

/** @param {HTMLElement} element */
export function mountIntro(element) {
  const invitation = /** @type {HTMLElement} */ (element.querySelector(".invitation"));
  const failure = /** @type {HTMLElement} */ (element.querySelector(".load-failure"));
  const words = /** @type {HTMLElement} */ (failure.querySelector("p"));
  const button = /** @type {HTMLButtonElement} */ (failure.querySelector("button"));
  let signIn = false;

  invitation.addEventListener("click", (event) => {
    const prompt = /** @type {Element} */ (event.target).closest("button")?.textContent?.trim();
    if (prompt) element.dispatchEvent(new CustomEvent("send-prompt", { bubbles: true, detail: { prompt } }));
  });
  button.addEventListener("click", () => {
    element.dispatchEvent(new CustomEvent(signIn ? "sign-in" : "load-conversation", { bubbles: true }));
  });

  return {
    /** @param {import("./conversation-state.js").Conversation} state */
    update({ loading, problem, turns }) {
      signIn = problem?.status === 401 || problem?.status === 403;
      invitation.hidden = loading !== "ready" || turns.length > 0;
      failure.hidden = loading !== "failed";
      words.textContent = `This conversation could not be loaded. ${problem?.message ?? ""}`;
      button.textContent = signIn ? "Sign in" : "Try again";
      element.hidden = invitation.hidden && failure.hidden;
    },
  };
}

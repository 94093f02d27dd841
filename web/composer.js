// @ts-check
/**
 * Where the person writes. Up events: `send-prompt` {prompt}, `save-draft` {draft}, `recall-prompt`, `stop-turn`.
 * While a turn runs, writing goes on, sending waits, and the button that sends is the one that stops: one button, so that
 * nobody's focus is lost with it. Enter never stops; while a turn runs it says why it does nothing. A draft is never taken away.
 */

const WAIT = "One answer at a time: press Enter again when this one is done, or Escape to stop it.";
const WAIT_FOR_STOP = "One answer at a time: press Enter again when this one has stopped.";

/** @param {HTMLFormElement} form @param {HTMLElement} hint */
export function mountComposer(form, hint) {
  const input = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  const growsByItself = CSS.supports("field-sizing", "content");
  let busy = false;
  let stopping = false;

  input.addEventListener("input", () => {
    emit("save-draft", { draft: input.value });
    draw();
  });
  input.addEventListener("keydown", (event) => {
    // While an input method composes, Enter chooses a word; 229 is what older browsers say instead of isComposing.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && input.value === "") {
      event.preventDefault();
      emit("recall-prompt", {});
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (busy && event.submitter === button) stop();
    else submit();
  });
  button.addEventListener("click", (event) => {
    if (event.detail > 1) event.preventDefault(); // the second half of a double click on Send is no Stop
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing && event.keyCode !== 229 && !event.repeat) stop();
  });

  /** @param {string} name @param {object} detail */
  function emit(name, detail) {
    form.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  function submit() {
    const prompt = input.value.trim();
    if (prompt === "") return;
    if (busy) {
      hint.textContent = stopping ? WAIT_FOR_STOP : WAIT;
      return;
    }
    fill("");
    emit("save-draft", { draft: "" });
    emit("send-prompt", { prompt });
  }

  function stop() {
    if (busy && !stopping) emit("stop-turn", {});
  }

  function draw() {
    const ready = busy ? !stopping : input.value.trim() !== "";
    const label = busy ? (stopping ? "Stopping" : "Stop") : "Send";
    button.dataset.does = busy ? "stop" : "send";
    button.setAttribute("aria-label", label);
    // Not `disabled`: a button that loses its focus while somebody waits on it moves the reader.
    button.setAttribute("aria-disabled", String(!ready));
    button.title = { Send: "Send (Enter)", Stop: "Stop (Esc)", Stopping: "Stopping" }[label];
    if (growsByItself) return;
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight}px`; // max-height holds it to eight lines
  }

  /** @param {string} text */
  function fill(text) {
    input.value = text;
    draw();
  }

  return {
    /** @param {{busy: boolean, stopping: boolean}} state stopping: whatever is on its way was asked to stop */
    update(state) {
      if (state.busy === busy && state.stopping === stopping) return;
      ({ busy, stopping } = state);
      if (!busy) hint.textContent = "";
      else if (hint.textContent !== "") hint.textContent = stopping ? WAIT_FOR_STOP : WAIT;
      draw();
    },
    fill,
    focus: () => input.focus(),
    /** Put a prompt here to be changed, before whatever is being written. @param {string} prompt */
    edit(prompt) {
      const text = input.value.trim() === "" ? prompt : `${prompt}\n\n${input.value}`;
      fill(text);
      emit("save-draft", { draft: text });
      input.focus();
      input.setSelectionRange(text.length, text.length);
    },
  };
}

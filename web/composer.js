// @ts-check
/**
 * Where the person writes. Up events: `send-prompt` {prompt}, `save-draft` {draft}, `recall-prompt`.
 * While a turn runs, writing goes on and sending waits; a draft is never taken away.
 */

/** @param {HTMLFormElement} form */
export function mountComposer(form) {
  const input = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"));
  const send = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  const growsByItself = CSS.supports("field-sizing", "content");
  let busy = false;

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
    submit();
  });

  /** @param {string} name @param {object} detail */
  function emit(name, detail) {
    form.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  function submit() {
    const prompt = input.value.trim();
    if (prompt === "" || busy) return;
    fill("");
    emit("save-draft", { draft: "" });
    emit("send-prompt", { prompt });
  }

  function draw() {
    const ready = !busy && input.value.trim() !== "";
    // Not `disabled`: a button that loses its focus while somebody waits on it moves the reader.
    send.setAttribute("aria-disabled", String(!ready));
    send.title = busy ? "The answer is still being written" : "Send (Enter)";
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
    /** @param {{busy: boolean}} state */
    update(state) {
      busy = state.busy;
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

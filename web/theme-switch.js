// @ts-check
/** The switch between light and dark. Until it is used, the system decides; afterwards the choice is remembered. */
import { remember } from "./page-memory.js";

/** @param {HTMLElement} button */
export function mountThemeSwitch(button) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function isDark() {
    return root.dataset.theme === undefined ? system.matches : root.dataset.theme === "dark";
  }

  function draw() {
    button.setAttribute("aria-pressed", String(isDark()));
  }

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("localStorage", "theme", root.dataset.theme);
    draw();
  });
  system.addEventListener("change", draw);
  draw();
}

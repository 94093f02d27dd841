/* Runs before the first paint, hence a plain script: a remembered theme must not flash the other one. */
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  /* Storage is switched off: the system's theme it is. */
}

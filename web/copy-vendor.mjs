/**
 * Copies what the browser needs out of node_modules into vendor/, and nothing else.
 *
 * The page has no build step: one file of each of three libraries is served as it was published. `npm ci` runs this, so
 * that vendor/ always holds the versions that package-lock.json names.
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const vendor = join(here, "vendor");

const FILES = [
  ["@microsoft/signalr/dist/browser/signalr.min.js", "signalr.min.js"],
  ["marked/lib/marked.esm.js", "marked.esm.js"],
  ["marked/lib/marked.d.ts", "marked.esm.d.ts"], // types for `npm run types`; no browser asks for them
  ["marked/LICENSE", "marked.LICENSE.txt"],
  ["dompurify/dist/purify.es.mjs", "purify.es.js"], // .js: some hosts serve .mjs with a type that browsers refuse
  ["dompurify/dist/purify.es.d.mts", "purify.es.d.ts"],
  ["dompurify/LICENSE", "dompurify.LICENSE.txt"],
];

await rm(vendor, { recursive: true, force: true });
await mkdir(vendor, { recursive: true });
for (const [from, to] of FILES) {
  const text = await readFile(join(here, "node_modules", from), "utf8");
  // The source maps stay behind, so the pointers to them would only be failed requests.
  await writeFile(join(vendor, to), text.replace(/^\/\/# sourceMappingURL=.*$/gm, "").trimEnd() + "\n");
}

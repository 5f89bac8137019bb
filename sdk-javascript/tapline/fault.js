/**
 * What an author reads when code of theirs fails: the words, the place and the line, in one
 * line, because the host shows one.
 */

const sources = new Map();

/** Keeps the lines of the author's files, by their names in the project. */
export function keepSources(texts) {
  for (const [name, text] of Object.entries(texts)) sources.set(name, text.split("\n"));
}

/** `TypeError: … at src/module.js:12 in parse: telegram.a.b, called at …`. */
export function words(error) {
  if (!(error instanceof Error)) return `thrown: ${JSON.stringify(error)}`;
  const what = error.message ? `${error.name}: ${error.message}` : error.name;
  const places = [];
  // A frame is `function@file:line:column`.
  for (const frame of String(error.stack).split("\n")) {
    const [, called, file, line] = /^(.*?)@(.*?):(\d+):\d+$/.exec(frame) ?? [];
    const name = [...sources.keys()].find((known) => file?.endsWith(known));
    if (!name) continue;
    const text = sources.get(name)[Number(line) - 1]?.trim() ?? "";
    places.push(`${name}:${line} in ${called || "the file"}: ${text}`);
  }
  return places.length ? `${what} at ${places.slice(0, 4).join(", called at ")}` : what;
}

/**
 * Makes a component of a project: `node build.mjs '{"project": …, "tool": …, …}'`.
 *
 * Imports of "tapline" are turned into paths in a copy of the project's sources, line for line,
 * because the component's own loader knows paths alone. What is wrong with the author's code is
 * found before the component is made, and said with its line; anything of that kind ends with
 * code 1 and words on stdout, anything else on stderr.
 */

import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { pathToFileURL } from "node:url";

const { project, tool, sdk, wit, world, role, work, output } = JSON.parse(process.argv[2]);
const fromTool = (path) => import(pathToFileURL(join(tool, "node_modules", path)));

/** What the author has to change. */
class Wrong extends Error {}

function wrong(name, text, at, what) {
  const line = text.slice(0, at).split("\n").length;
  const shown = text.split("\n")[line - 1].trim();
  throw new Wrong(`${name}:${line}: ${what}${shown ? `\n    ${shown}` : ""}`);
}

/** The project's sources by their names, ready for the component's loader. */
async function sources() {
  const { default: oxc } = await fromTool("oxc-parser/index.js");
  const found = {};
  for (const entry of await readdir(join(project, "src"), { recursive: true })) {
    if (!/\.m?js$/.test(entry)) continue;
    const name = `src/${entry.split(sep).join("/")}`;
    const text = await readFile(join(project, name), "utf8");
    const { errors, module } = oxc.parseSync(name, text, { lang: "js", sourceType: "module" });
    if (errors.length) wrong(name, text, errors[0].labels?.[0]?.start ?? 0, errors[0].message);
    const imports = [...module.staticImports, ...module.staticExports.flatMap(({ entries }) => entries)];
    const places = imports.map(({ moduleRequest }) => moduleRequest).filter(Boolean);
    let turned = text;
    for (const { value, start, end } of places.sort((a, b) => b.start - a.start)) {
      if (value === "tapline") {
        const path = `${"../".repeat(name.split("/").length - 1)}tapline/index.js`;
        turned = `${turned.slice(0, start)}${JSON.stringify(path)}${turned.slice(end)}`;
      } else if (!/^\.\.?\//.test(value)) {
        wrong(name, text, start, `\`${value}\` is imported, and a module has files of its own and "tapline" alone`);
      }
    }
    found[name] = { text, turned };
  }
  if (!found["src/module.js"]) throw new Wrong("src/module.js is missing");
  return found;
}

async function copy(files) {
  await rm(work, { recursive: true, force: true });
  for (const [name, { turned }] of Object.entries(files)) await put(name, turned);
  for (const name of await readdir(sdk)) await put(`tapline/${name}`, await readFile(join(sdk, name)));
  await put("package.json", '{"type":"module"}');
  const texts = Object.fromEntries(Object.entries(files).map(([name, { text }]) => [name, text]));
  await put(
    "before.js",
    `import { write } from "tapline:host/log@0.1.0";
import { setUp } from "./tapline/bounds.js";
import { connect } from "./tapline/log.js";
connect(write);
setUp();
`,
  );
  await put(
    "entry.js",
    `import "./before.js";
import * as file from "./src/module.js";
import { exports } from "./tapline/component.js";
const made = exports(file, ${JSON.stringify(role)}, ${JSON.stringify(texts)});
export const module = made.module;
export const ${role} = made[${JSON.stringify(role)}];
`,
  );
}

async function put(name, content) {
  const path = join(work, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** Runs the author's file here first: its errors are readable here. */
async function check() {
  const at = (name) => import(pathToFileURL(join(work, name)));
  const { moduleClass, settingsShape, Incomplete } = await at("tapline/found.js");
  try {
    settingsShape(moduleClass(await at("src/module.js"), role)).schema();
  } catch (error) {
    if (error instanceof Incomplete) throw new Wrong(error.message);
    const base = pathToFileURL(join(work, "src")).href;
    const stack = String(error?.stack ?? error);
    const [, name, line] = new RegExp(`${base.replaceAll(/[.*+?^${"$"}{}()|[\]\\]/g, "\\$&")}/(.*?):(\\d+)`).exec(stack) ?? [];
    const words = `${error?.name ?? "thrown"}: ${error?.message ?? error}`.replaceAll("../tapline/index.js", "tapline");
    if (!name) throw new Wrong(`src/module.js: ${words}`);
    const text = await readFile(join(project, "src", name), "utf8");
    const shown = text.split("\n")[Number(line) - 1]?.trim();
    throw new Wrong(`src/${name}:${line}: ${words}${shown ? `\n    ${shown}` : ""}`);
  }
}

try {
  await copy(await sources());
  await check();
  process.chdir(work);
  const { componentize } = await fromTool("@bytecodealliance/componentize-js/src/componentize.js");
  const { component } = await componentize({
    sourcePath: relative(process.cwd(), join(work, "entry.js")),
    witPath: wit,
    worldName: world,
    disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
  });
  await writeFile(output, component);
} catch (error) {
  // What the component's engine cannot read or run, though Node can.
  const [, refused] = /Exception while evaluating top-level script\n([^]*)/.exec(error?.message ?? "") ?? [];
  if (error instanceof Wrong || refused) console.log(refused?.trim() ?? error.message);
  else console.error(error?.stack ?? String(error));
  process.exitCode = 1;
}

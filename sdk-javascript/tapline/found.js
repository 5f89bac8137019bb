/** Whether what the author's file exports is a whole module. */

import { Detector, Parser, Validator } from "./roles.js";
import { Fields, settings } from "./shape.js";
import { Sink } from "./sink.js";

const ROLES = {
  validator: { base: Validator, needed: ["validate"] },
  parser: { base: Parser, needed: ["parse"] },
  detector: { base: Detector, needed: ["step"] },
  sink: { base: Sink, needed: ["encode", "conclude"] },
};

/** What the author has to add or change. */
export class Incomplete extends Error {}

/** The module's class. */
export function moduleClass(file, role) {
  const { base, needed } = ROLES[role];
  const found = file.default;
  if (!(typeof found === "function" && found.prototype instanceof base)) {
    throw new Incomplete(
      `src/module.js must have \`export default class extends ${base.name} { … }\`, because ` +
        `module.toml says ${role}`,
    );
  }
  for (const text of ["name", "version", "summary"]) {
    if (!Object.hasOwn(found, text) || typeof found[text] !== "string" || found[text] === "") {
      throw new Incomplete(`the module's class needs \`static ${text} = "…"\``);
    }
  }
  if (!/^[a-z0-9_-]{1,64}$/.test(found.name)) {
    throw new Incomplete(
      `the module's name is \`${found.name}\`, and a name is made of small letters, digits, \`-\` and \`_\`: \`static name = "my-meter"\``,
    );
  }
  for (const method of needed) {
    if (found.prototype[method] === base.prototype[method]) {
      throw new Incomplete(`the module's class needs \`${method}(…) { … }\``);
    }
  }
  return found;
}

/** The shape of its settings; every field must have a default. */
export function settingsShape(found) {
  const shape = found.settings ?? settings({});
  if (!(shape instanceof Fields && shape.closed)) {
    throw new Incomplete("`static settings` must be made with `settings({ … })`");
  }
  for (const [key, field] of shape.entries) {
    if (!field.optional) throw new Incomplete(`the setting \`${key}\` needs a default: \`number({ default: 1 })\``);
  }
  return shape;
}

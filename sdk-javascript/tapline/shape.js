/**
 * What a JSON value must look like.
 *
 * A shape takes what `JSON.parse` read, writes itself as JSON Schema, and names what it expects
 * in the words of the Rust SDK, so that a rejection reads the same whatever language a module is
 * written in.
 */

/** The value has another shape; the reader says where. */
export class Mismatch extends Error {}

/**
 * @typedef {object} About
 * @property {*} [default] what stands where nothing is given
 * @property {string} [text] one sentence on what it is
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {string} [pattern]
 */

export class Shape {
  expected = "any value";

  /** @param {About} [about] what else JSON Schema should say goes into it as it is */
  constructor(about = {}) {
    const { default: given, text, ...schema } = about;
    this.optional = "default" in about;
    this.default = given;
    this.about = { ...(text === undefined ? {} : { description: text }), ...schema };
  }

  /** What becomes of a value that was read from JSON. */
  take(value) {
    return value;
  }

  schema() {
    return { ...this.kind(), ...(this.optional ? { default: this.default } : {}), ...this.about };
  }

  kind() {
    return {};
  }
}

class Plain extends Shape {
  constructor(expected, type, fits, about) {
    super(about);
    Object.assign(this, { expected, type, fits });
  }

  take(value) {
    if (this.fits(value)) return value;
    throw new Mismatch();
  }

  kind() {
    return { type: this.type };
  }
}

class Choice extends Shape {
  constructor(choices, about) {
    super(about);
    this.choices = choices;
    this.expected = choices.map((choice) => `\`${choice}\``).join(" or ");
  }

  take(value) {
    if (this.choices.includes(value)) return value;
    throw new Mismatch();
  }

  kind() {
    return { type: "string", enum: this.choices };
  }
}

export class Maybe extends Shape {
  constructor(inner) {
    super({ default: inner.default });
    Object.assign(this, { inner, expected: inner.expected, about: inner.about });
  }

  take(value) {
    return value === null ? undefined : this.inner.take(value);
  }

  schema() {
    const { default: given, ...inner } = this.inner.schema();
    const wide =
      typeof inner.type === "string" && !inner.enum
        ? { ...inner, type: [inner.type, "null"] }
        : { anyOf: [inner, { type: "null" }] };
    return { ...wide, default: given ?? null };
  }
}

export class Sequence extends Shape {
  expected = "a sequence";

  constructor(inner, about) {
    super(about);
    this.inner = inner;
  }

  take(value) {
    if (!Array.isArray(value)) throw new Mismatch();
    return value.map((each) => this.inner.take(each));
  }

  kind() {
    return { type: "array", items: this.inner.schema() };
  }
}

export class Mapping extends Shape {
  expected = "a map";

  constructor(inner, about) {
    super(about);
    this.inner = inner;
  }

  take(value) {
    if (!isObject(value)) throw new Mismatch();
    const taken = {};
    for (const key of Object.keys(value)) taken[key] = this.inner.take(value[key]);
    return taken;
  }

  kind() {
    return { type: "object", additionalProperties: this.inner.schema() };
  }
}

export class Fields extends Shape {
  constructor(name, fields, about, closed = false) {
    super(about);
    Object.assign(this, { name, fields, closed, expected: `struct ${name}` });
    this.entries = Object.entries(fields);
  }

  take(value) {
    if (!isObject(value)) throw new Mismatch();
    const taken = {};
    for (const [key, shape] of this.entries) {
      const given = value[key];
      if (given !== undefined) taken[key] = shape.take(given);
      else if (shape.optional) taken[key] = shape.default;
      else throw new Mismatch();
    }
    return taken;
  }

  kind() {
    const properties = {};
    for (const [key, shape] of this.entries) properties[key] = shape.schema();
    const required = this.entries.filter(([, shape]) => !shape.optional).map(([key]) => key);
    return {
      title: this.name,
      type: "object",
      properties,
      ...(required.length ? { required } : {}),
      ...(this.closed ? { additionalProperties: false } : {}),
    };
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A finite number. @param {About} [about] */
export const number = (about) => new Plain("f64", "number", Number.isFinite, about);
/** A whole number. @param {About} [about] */
export const integer = (about) => new Plain("i64", "integer", Number.isInteger, about);
/** @param {About} [about] */
export const text = (about) =>
  new Plain("a string", "string", (value) => typeof value === "string", about);
/** @param {About} [about] */
export const boolean = (about) =>
  new Plain("a boolean", "boolean", (value) => typeof value === "boolean", about);
/** One of some texts. @param {string[]} choices @param {About} [about] */
export const choice = (choices, about) => new Choice(choices, about);
/** May be missing or null; it is `undefined` then. @param {Shape} inner */
export const optional = (inner) => new Maybe(inner);
/** @param {Shape} inner @param {About} [about] */
export const list = (inner, about) => new Sequence(inner, about);
/** An object with any keys. @param {Shape} inner @param {About} [about] */
export const map = (inner, about) => new Mapping(inner, about);
/** Whatever JSON can say. @param {About} [about] */
export const any = (about) => new Shape(about);

/**
 * An object with these fields; others are passed over. Its name stands in rejections.
 * @param {string} name
 * @param {Object<string, Shape>} fields
 */
export const record = (name, fields) => new Fields(name, fields);

/**
 * What a pipeline may set. Each field has a default; other keys are refused.
 *
 * The host checks settings by the JSON Schema before the module sees them; what no schema can
 * say is checked in `prepare()` of the module.
 * @param {Object<string, Shape>} fields
 * @param {string} [text] what these settings are about
 */
export const settings = (fields, text) =>
  new Fields("Settings", fields, text === undefined ? {} : { text }, true);

/**
 * Lines for the operator: `log.warn(`no unit in ${name}`)`.
 *
 * The host adds pipeline, stage and module, limits rate and length, and drops what is below the
 * configured level. Outside a component lines go to the console.
 */

let write = (level, text) => console.error(`${level}: ${text}`);

/** Where lines go: to the host, in a component. */
export function connect(host) {
  write = host;
}

export const log = {
  /** @param {string} text */
  trace: (text) => write("trace", String(text)),
  /** @param {string} text */
  debug: (text) => write("debug", String(text)),
  /** @param {string} text */
  info: (text) => write("info", String(text)),
  /** Something was wrong, and it went on. @param {string} text */
  warn: (text) => write("warn", String(text)),
  /** Data is at risk or a person is needed. @param {string} text */
  error: (text) => write("error", String(text)),
};

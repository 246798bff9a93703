/**
 * Options with non-enumerable secrets: no log line, no JSON and no inspection of a context or its
 * options shows a key or a passphrase.
 */

import { inspect, type InspectOptions } from 'node:util'

/**
 * Options that are or contain a secret. A `key` may be the text of a key; a `session` contains one.
 */
const secrets = ['key', 'pfx', 'passphrase', 'private', 'ticketKeys', 'session'] as const

/**
 * A copy of options whose secrets are not enumerable.
 *
 * A spread of such options omits the secrets, so missing ones are taken from `known`, the original
 * options. Set an option to `undefined` to remove it.
 */
export function concealed<Options extends object>(options: Options, known: object = {}): Options {
  const copy = { ...options } as Record<PropertyKey, unknown>
  for (const name of secrets) {
    const source = Object.hasOwn(options, name) ? options : known
    if (!Object.hasOwn(source, name)) continue
    delete copy[name]
    hide(copy, name, (source as Record<string, unknown>)[name])
  }
  if (typeof copy.sni === 'object' && copy.sni !== null) copy.sni = concealedNames(copy.sni, known)
  hide(copy, inspect.custom, show)
  return copy as Options
}

/** Makes secrets non-enumerable in an object of Node, which copied them from its options. */
export function conceal(holder: object): void {
  for (const name of secrets) {
    if (Object.hasOwn(holder, name)) hide(holder, name, (holder as Record<string, unknown>)[name])
  }
}

/** A copy of options with enumerable secrets, as Node needs them. */
export function revealed<Options extends object>(options: Options): Options {
  const all = options as Record<string, unknown>
  const hidden = secrets.filter((name) => Object.hasOwn(all, name))
  return { ...options, ...Object.fromEntries(hidden.map((name) => [name, all[name]])) }
}

/** Makes `console.log` and similar functions print a summary instead of the whole object. */
export function showAs<Shown extends object>(
  prototype: Shown,
  summary: (shown: Shown) => object,
): void {
  hide(prototype, inspect.custom, function (this: Shown, _depth: number, options: InspectOptions) {
    // Not for a prototype itself.
    if (Object.hasOwn(this, 'constructor')) return '[prototype]'
    return `${this.constructor.name} ${inspect(summary(this), options)}`
  })
}

function concealedNames(sni: object, known: object): object {
  const { sni: before = {} } = known as { readonly sni?: Readonly<Record<string, object>> }
  const named = Object.entries(sni as Record<string, object>)
  return Object.fromEntries(
    named.map(([name, one]) => [
      name,
      typeof one === 'object' && one !== null ? concealed(one, before[name]) : one,
    ]),
  )
}

function hide(target: object, name: PropertyKey, value: unknown): void {
  Object.defineProperty(target, name, {
    value,
    enumerable: false,
    configurable: true,
    writable: true,
  })
}

/** Shows that a secret is set, but not its value. */
function show(this: object, _depth: number, options: InspectOptions): string {
  const all = this as Record<string, unknown>
  const hidden = secrets.filter((name) => all[name] !== undefined)
  const shown = { ...this, ...Object.fromEntries(hidden.map((name) => [name, hiddenText])) }
  return inspect(shown, options)
}

/** Printed without quotes. */
const hiddenText = { [inspect.custom]: () => '[secret]' }

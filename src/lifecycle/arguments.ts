/** Checks the arguments of `listen()` and `connect()`, and makes one set of options of them. */

import { isIP } from 'node:net'
import { CioError, describe } from '../errors.ts'
import { withoutBrackets } from '../streams/host-name.ts'
import { type Call, checkOptions, formerOptions, knownOptions } from './known-options.ts'
import { checkObject, checkSignal, optionError } from '../options.ts'
import { concealed } from './secret-options.ts'

// A host and a port. Neither a path with a folder nor an abstract socket has that form.
const hostAndPort = /^(?:\[[^\]]*\]|[^/\\\0]*):\d{1,5}$/
const url = /^[a-z][a-z\d+.-]*:\/\//i

/**
 * Makes options from the arguments of `listen()` or `connect()`.
 *
 * @throws `ERR_CIO_OPTION`: an argument has an unknown kind, or an option is unknown
 */
export function optionsOf(
  call: Call,
  target: unknown,
  options: unknown = {},
  ...more: unknown[]
): object {
  if ([target, options, ...more].some((one) => typeof one === 'function')) {
    throw new CioError(
      'ERR_CIO_OPTION',
      `${call}: it takes no callback; write \`const ${call === 'listen' ? 'server' : 'client'} = await app.${call}(…)\``,
    )
  }
  if (
    typeof options !== 'object' ||
    options === null ||
    Array.isArray(options) ||
    more.length > 0
  ) {
    const given = more.length > 0 ? `${more.length + 2} arguments` : describe(options)
    throw new CioError(
      'ERR_CIO_OPTION',
      `${call}: expected one object of options after the target, such as { host: '127.0.0.1' }, got ${given}`,
    )
  }
  for (const one of [options, target]) checkOwn(call, one)
  const given: Record<string, unknown> = { ...options, ...place(call, target) }
  checkSignal(call, given.signal)
  return checkedOptions(call, given)
}

/**
 * Refuses a promise of options, which would be a server without TLS on any port. Refuses inherited
 * options too: they are not copied, so a check that one of them turns on would stay off.
 */
function checkOwn(call: Call, options: unknown): void {
  if (typeof options !== 'object' || options === null) return
  if (!Array.isArray(options)) checkObject(call, 'options', options)
  const prototype: unknown = Object.getPrototypeOf(options)
  if (prototype === Object.prototype || prototype === null) return
  const inherited = [...knownOptions.keys(), ...Object.keys(formerOptions)].find(
    (name) => name in options && !Object.hasOwn(options, name),
  )
  if (inherited === undefined) return
  throw new CioError(
    'ERR_CIO_OPTION',
    `${call}: \`${inherited}\` is refused: it is inherited, and would be ignored; give options in one plain object, such as { ...defaults, ${inherited} }`,
  )
}

/**
 * Checked options, with the host in Node's form.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkedOptions<Options extends object>(call: Call, options: Options): Options {
  checkOptions(call, options)
  return settled(options)
}

/** Options with the host in Node's form: without brackets. */
export function settled<Options extends object>(options: Options): Options {
  const { host } = options as { readonly host?: unknown }
  const bare = typeof host === 'string' ? withoutBrackets(host) : host
  return bare === host ? options : concealed({ ...options, host: bare }, options)
}

/** A short form of options: a port, a path, targets. */
export function place(call: Call, target: unknown): object {
  if (Array.isArray(target) && call === 'connect') return { targets: target }
  if (typeof target === 'object' && target !== null && !Array.isArray(target)) return target
  if (typeof target === 'number') return { port: target }
  if (typeof target !== 'string') {
    const several = call === 'connect' ? ', options, or an array of targets' : ' or options'
    throw optionError(call, 'target', `a port, a path${several}`, target)
  }
  // As in Node: a port from an environment variable is a string.
  const port = Number(target)
  if (target !== '' && !Number.isNaN(port)) return { port }
  checkPath(call, target)
  return { path: target }
}

/** Node would treat an address as the path of a Unix socket, and create that file. */
function checkPath(call: Call, path: string): void {
  const [, host = path, port] = /^(.*?)(?::(\d+))?$/s.exec(path) ?? []
  const isAddress = isIP(withoutBrackets(path)) !== 0 || path === 'localhost'
  if (!isAddress && !hostAndPort.test(path) && !url.test(path)) return
  const instead = isAddress
    ? { host: path, port: '…' }
    : url.test(path)
      ? { host: '…', port: '…' }
      : { host, port }
  throw new CioError(
    'ERR_CIO_OPTION',
    `${call}: ${describe(path)} is an address, and a string is the path of a Unix socket; write { host: '${withoutBrackets(instead.host)}', port: ${instead.port} }, or { path } for a socket of that name`,
  )
}

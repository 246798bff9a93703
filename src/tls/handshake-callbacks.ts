/**
 * Functions of the application that Node calls in a handshake. Node destroys the socket with what they
 * throw, and reads it, outside of any `try`: an error with a getter that throws would end the process.
 */

import type { TlsOptions } from 'node:tls'
import { CioError, asError } from '../errors.ts'
import { atOnce, whenRejected } from '../thenable.ts'

type Callback = (...given: never[]) => unknown
type SniCallback = NonNullable<TlsOptions['SNICallback']>

const names = ['ALPNCallback', 'pskCallback'] as const

/** Those of the callbacks that are given, so that they throw errors that Node can read. */
export function handshakeCallbacks(owner: string, options: object): object {
  const given = options as Partial<Record<(typeof names)[number], Callback>>
  const all = names.map((name) => [name, given[name]] as const)
  const safe = all.map(([name, callback]) => [name, callback && readable(owner, name, callback)])
  return Object.fromEntries(safe.filter(([, callback]) => callback))
}

function readable(owner: string, name: string, callback: Callback): Callback {
  return function (this: unknown, ...given) {
    try {
      const returned = atOnce(owner, name, Reflect.apply(callback, this, given) as unknown)
      if (name === 'pskCallback') checkPsk(owner, returned)
      return returned
    } catch (thrown) {
      throw asError(thrown)
    }
  }
}

/** The bound of OpenSSL. */
const maxPskSize = 512

/** Before Node, whose own errors show the key. */
function checkPsk(owner: string, returned: unknown): void {
  if (returned === null || returned === undefined) return
  const { psk = returned } = returned as { readonly psk?: unknown }
  if (ArrayBuffer.isView(psk) && psk.byteLength <= maxPskSize) return
  throw new CioError(
    'ERR_CIO_OPTION',
    `${owner}: expected \`pskCallback\` to return a key in a Buffer of at most ${maxPskSize} bytes, or null`,
  )
}

/** Asks an `SNICallback`, which may be async: only its rejection counts. */
export function askSni(
  callback: SniCallback,
  socket: unknown,
  name: string,
  done: Parameters<SniCallback>[1],
): void {
  const fail = (thrown: unknown): void => done(asError(thrown))
  try {
    const returned: unknown = Reflect.apply(callback, socket, [
      name,
      (error, context) => (error ? fail(error) : done(null, context)),
    ] satisfies Parameters<SniCallback>)
    whenRejected(returned, fail)
  } catch (thrown) {
    fail(thrown)
  }
}

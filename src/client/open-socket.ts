/** Opens a TCP connection or a Unix socket, within a time limit. */

import {
  type LookupFunction,
  type NetConnectOpts,
  type Socket,
  connect as connectNet,
} from 'node:net'
import { type ConnectOptions, placeOf } from './connect-options.ts'
import { allowListeners } from '../streams/lazy-abort.ts'
import { CioError, asError, isCioError, quote } from '../errors.ts'
import { whenRejected } from '../thenable.ts'

/**
 * Node's default is 250 ms, after which it abandons the attempt: distant servers would be
 * unreachable.
 */
const attemptTimeout = 1_000

/**
 * Opens a TCP connection or a Unix socket, with `allowHalfOpen` and `noDelay`, as `connect()` does.
 * For middleware that connect to something else first, such as a proxy.
 *
 * @throws Node's error, or the signal's reason
 */
export function openSocket(options: ConnectOptions, signal: AbortSignal): Promise<Socket> {
  return opened(options, Infinity, signal)
}

/**
 * Begins a TCP connection or a Unix socket and calls once, when it is connected or has failed.
 * Destroy the socket to give it up.
 *
 * All connections that Cio dials go through here. It costs three listeners and a timer: no promise,
 * no signal.
 */
export function startSocket(
  options: ConnectOptions,
  timeout: number,
  settled: (error?: Error) => void,
): Socket {
  const socket = connectNet({
    noDelay: true,
    autoSelectFamilyAttemptTimeout: attemptTimeout,
    ...options,
    ...(options.lookup && { lookup: settling(options.lookup) }),
    allowHalfOpen: true,
    signal: undefined,
  } as unknown as NetConnectOpts)
  const expire = (): void => {
    const tried = socket.autoSelectFamilyAttemptedAddresses ?? []
    socket.destroy(naming(connectTimeoutError(options, timeout), tried))
  }
  const timer = timeout === Infinity ? undefined : setTimeout(expire, timeout)
  let failure: Error | undefined
  const settle = (error?: Error): void => {
    clearTimeout(timer)
    socket.off('connect', connect)
    socket.off('close', close)
    settled(error)
  }
  const connect = (): void => {
    if (!isItsOwnPeer(socket)) return settle()
    socket.destroy(selfConnectError(socket))
  }
  const close = (): void => settle(failure ?? abandoned(options))
  // This listener stays: an error before the new owner adds its own listener must not be uncaught.
  socket.on('error', (error) => (failure ??= spellOut(asError(error))))
  socket.on('connect', connect)
  socket.on('close', close)
  return socket
}

/**
 * Node ignores the promise of an async function, whose rejection would end the process. It also reads
 * the result of a look-up outside any `try`: an odd error, or no address at all, would end it too.
 */
function settling(lookup: LookupFunction): LookupFunction {
  return (host, how, done) => {
    const fail = (thrown: unknown): void => done(asError(thrown), [])
    const found: typeof done = (error, addresses, family) => {
      if (error) return fail(error)
      if (!addresses?.length) return fail(noAddressError(host))
      try {
        done(null, addresses, family)
      } catch (thrown) {
        fail(thrown)
      }
    }
    return whenRejected(lookup(host, how, found), fail)
  }
}

/** As of Node's own look-up, so that another attempt follows it. */
function noAddressError(hostname: string): Error {
  const error = new Error(`\`lookup\` found no address of ${quote(hostname)}`)
  return Object.assign(error, { code: 'ENOTFOUND', syscall: 'lookup', hostname })
}

export function opened(
  options: ConnectOptions,
  timeout: number,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    allowListeners(signal)
    const socket = startSocket(options, timeout, (error) => {
      signal.removeEventListener('abort', abort)
      if (error) reject(error)
      else resolve(socket)
    })
    const abort = (): void => {
      const tried = socket.autoSelectFamilyAttemptedAddresses ?? []
      socket.destroy(naming(asError(signal.reason), tried))
    }
    signal.addEventListener('abort', abort)
  })
}

/**
 * TCP self-connect: if no server listens on an ephemeral port, the kernel can choose that port as
 * the client's own, and connect the socket to itself.
 */
function isItsOwnPeer({ localPort, remotePort, localAddress, remoteAddress }: Socket): boolean {
  return localPort !== undefined && localPort === remotePort && localAddress === remoteAddress
}

function selfConnectError({ remoteAddress, remotePort }: Socket): Error {
  const place = placeOf({ host: remoteAddress!, port: remotePort! })
  const message = `connect ECONNREFUSED ${place}: no server listens there, and the connection was made to itself`
  return Object.assign(new Error(message), { code: 'ECONNREFUSED', syscall: 'connect' })
}

function abandoned(options: ConnectOptions): CioError {
  const message = `the connection to ${placeOf(options)} was cancelled`
  return new CioError('ERR_CIO_CLOSED', message)
}

export function connectTimeoutError(options: ConnectOptions, timeout: number): CioError {
  return new CioError(
    'ERR_CIO_CONNECT_TIMEOUT',
    `${placeOf(options)} was not connected within ${timeout} ms`,
    { fault: 'remote' },
  )
}

/** The same error, with the addresses that were tried. */
function naming(error: Error, tried: readonly string[]): Error {
  if (tried.length < 2 || !isCioError(error, 'ERR_CIO_CONNECT_TIMEOUT')) return error
  return new CioError(error.code, `${error.message}; tried ${tried.join(', ')}`, {
    fault: 'remote',
  })
}

/** Node's AggregateError for several addresses has an empty message. */
function spellOut(error: Error): Error {
  if (error instanceof AggregateError && error.message === '') {
    error.message = error.errors.map((one: Error) => one.message).join('; ')
  }
  return error
}

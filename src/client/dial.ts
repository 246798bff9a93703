/** Connects to one target, or to the first of several that answers, within a time limit. */

import { type NetConnectOpts, type Socket, connect as connectNet } from 'node:net'
import type { Duplex } from 'node:stream'
import { settled } from '../lifecycle/arguments.ts'
import { byteStream } from '../streams/byte-stream.ts'
import type { ConnectOptions } from './client.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import { withoutBrackets } from '../streams/host-name.ts'
import { checkDuration, checkOptionNames, optionError } from '../options.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import { untilConnected } from './until-connected.ts'

/** One of several targets of `connect()`. */
export interface ConnectTarget {
  readonly host?: string
  readonly port?: number
  /** The path of a Unix socket, instead of a host and a port. */
  readonly path?: string
  /** The name that the server's certificate must have, if it is not the host. */
  readonly servername?: string
}

/**
 * Makes a connection instead of Node's `net.connect`.
 *
 * `options` are those of the run, with the host and the port of the target. When `signal` aborts,
 * the connection is not needed any more: Cio destroys one that comes late.
 */
export type CreateConnection = (
  options: ConnectOptions,
  signal: AbortSignal,
) => Duplex | Promise<Duplex>

/** A connection that was made, and the options with the target that it was made to. */
export interface Dialed {
  readonly stream: Duplex
  readonly options: ConnectOptions
}

const defaultConnectTimeout = 10_000
/**
 * Node's default is 250 ms, after which it abandons the attempt: distant servers would be
 * unreachable.
 */
const attemptTimeout = 1_000
const ignore = (): void => {}

/** Connects to the target of the options, or to the first of several that answers. */
export async function dial(options: ConnectOptions, signal: AbortSignal): Promise<Dialed> {
  const { targets, order = 'given' } = options
  if (order !== 'given' && order !== 'random') {
    throw optionError('connect', 'order', "'given' or 'random'", order)
  }
  if (targets === undefined) {
    const aimed = settled(options)
    return { options: aimed, stream: await dialOne(aimed, signal) }
  }
  checkTargets(targets)

  const failures: [ConnectOptions, Error][] = []
  for (const target of order === 'random' ? shuffled(targets) : targets) {
    const aimed = aim(options, target)
    try {
      return { options: aimed, stream: await dialOne(aimed, signal) }
    } catch (thrown) {
      const error = asError(thrown)
      if (signal.aborted || (isCioError(error) && error.fault === 'local')) throw error
      failures.push([aimed, error])
    }
  }
  throw failures.length === 1 ? failures[0]![1] : noneConnectedError(failures)
}

/** The target of the options, for error messages. */
export function placeOf({
  path,
  host = 'localhost',
  port,
}: Pick<ConnectOptions, 'path' | 'host' | 'port'>): string {
  const bare = withoutBrackets(host)
  return path ?? `${bare.includes(':') ? `[${bare}]` : bare}:${port}`
}

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
  // Stays: between here and the new owner's listener, an error must not be uncaught.
  socket.on('error', (error) => (failure ??= spellOut(error)))
  socket.on('connect', connect)
  socket.on('close', close)
  return socket
}

function opened(options: ConnectOptions, timeout: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
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

function dialOne(options: ConnectOptions, ours: AbortSignal): Promise<Duplex> {
  const { connectTimeout = defaultConnectTimeout, createConnection } = options
  checkDuration('connect', 'connectTimeout', connectTimeout)
  if (createConnection === undefined) return opened(options, connectTimeout, ours)
  if (typeof createConnection !== 'function') {
    throw optionError('connect', 'createConnection', 'a function', createConnection)
  }
  ours.throwIfAborted()

  const limit = new AbortController()
  const late = (): void => limit.abort(connectTimeoutError(options, connectTimeout))
  const timer = connectTimeout === Infinity ? undefined : setTimeout(late, connectTimeout)
  const abort = (): void => limit.abort(ours.reason)
  ours.addEventListener('abort', abort)
  const make = async (): Promise<Duplex> => {
    const stream = await createConnection(options, limit.signal)
    if (typeof stream?.pipe !== 'function') {
      throw optionError('createConnection', 'its result', 'a Duplex', stream)
    }
    stream.on('error', ignore)
    return untilConnected(stream, placeOf(options), limit.signal)
  }
  return made(make(), limit.signal).finally(() => {
    clearTimeout(timer)
    ours.removeEventListener('abort', abort)
  })
}

/**
 * The connection, or the reason of the signal. After an abort, a connection that comes late is
 * destroyed.
 */
function made(making: Promise<Duplex>, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      making.then((stream) => stream.destroy(), ignore)
      // After the error of the attempt, which may say more.
      setImmediate(() => reject(asError(signal.reason)))
    }
    signal.addEventListener('abort', abort)
    making.then(
      (stream) => {
        signal.removeEventListener('abort', abort)
        if (signal.aborted) return
        try {
          resolve(byteStream('createConnection', 'its result', stream))
        } catch (error) {
          reject(asError(error))
        }
      },
      (thrown: unknown) => {
        signal.removeEventListener('abort', abort)
        reject(asError(thrown))
      },
    )
  })
}

function checkTargets(targets: readonly ConnectTarget[]): void {
  const isTarget = (target: unknown): boolean => typeof target === 'object' && target !== null
  if (!Array.isArray(targets) || targets.length === 0 || !targets.every(isTarget)) {
    throw optionError('connect', 'targets', 'at least one { host, port } or { path }', targets)
  }
  for (const target of targets as readonly object[]) {
    checkOptionNames('connect: a target', target, ['host', 'port', 'path', 'servername'])
  }
}

function aim(options: ConnectOptions, target: ConnectTarget): ConnectOptions {
  const aimed: Record<string, unknown> = { ...options }
  for (const name of ['host', 'port', 'path']) delete aimed[name]
  return concealed(settled({ ...aimed, ...target }), options)
}

/** Fisher-Yates shuffle. */
function shuffled<One>(all: readonly One[]): One[] {
  const mixed = [...all]
  for (let left = mixed.length; left > 1; left--) {
    const chosen = Math.floor(Math.random() * left)
    ;[mixed[left - 1], mixed[chosen]] = [mixed[chosen]!, mixed[left - 1]!]
  }
  return mixed
}

function abandoned(options: ConnectOptions): CioError {
  const message = `the connection to ${placeOf(options)} was cancelled`
  return new CioError('ERR_CIO_CLOSED', message)
}

function connectTimeoutError(options: ConnectOptions, timeout: number): CioError {
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

function noneConnectedError(failures: readonly [ConnectOptions, Error][]): CioError {
  const told = failures.map(([options, { message }]) => `${placeOf(options)} (${message})`)
  const errors = failures.map(([, error]) => error)
  return new CioError(
    'ERR_CIO_CONNECT',
    `none of ${failures.length} targets was connected: ${told.join(', ')}`,
    { fault: 'remote', cause: new AggregateError(errors, 'each error, in the order of the tries') },
  )
}

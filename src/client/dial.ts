/** Connects to one target, or to the first of several that answers, within a time limit. */

import type { Duplex } from 'node:stream'
import { settled } from '../lifecycle/arguments.ts'
import { byteStream } from '../streams/byte-stream.ts'
import { type ConnectOptions, type ConnectTarget, placeOf } from './connect-options.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import { newAbort } from '../streams/lazy-abort.ts'
import { checkDuration, checkOptionNames, optionError } from '../options.ts'
import { checkOptions } from '../lifecycle/known-options.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import { connectTimeoutError, opened } from './open-socket.ts'
import { untilConnected } from './until-connected.ts'

/** A connection that was made, and the options with the target that it was made to. */
export interface Dialed {
  readonly stream: Duplex
  readonly options: ConnectOptions
}

const defaultConnectTimeout = 10_000
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

function dialOne(options: ConnectOptions, ours: AbortSignal): Promise<Duplex> {
  const { connectTimeout = defaultConnectTimeout, createConnection } = options
  checkDuration('connect', 'connectTimeout', connectTimeout)
  if (createConnection === undefined) return opened(options, connectTimeout, ours)
  if (typeof createConnection !== 'function') {
    throw optionError('connect', 'createConnection', 'a function', createConnection)
  }
  ours.throwIfAborted()

  const limit = newAbort()
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
      // Later, so that the error of the attempt, if any, comes first: it may be more precise.
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
    checkOptions('connect', target)
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

function noneConnectedError(failures: readonly [ConnectOptions, Error][]): CioError {
  const told = failures.map(([options, { message }]) => `${placeOf(options)} (${message})`)
  const errors = failures.map(([, error]) => error)
  return new CioError(
    'ERR_CIO_CONNECT',
    `none of ${failures.length} targets was connected: ${told.join(', ')}`,
    { fault: 'remote', cause: new AggregateError(errors, 'each error, in the order of the tries') },
  )
}

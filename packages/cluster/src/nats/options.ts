/** The options of `nats()`. */

import type { NatsConnection, NodeConnectionOptions } from '@nats-io/transport-node'
import {
  checkCount,
  checkDuration,
  checkMethods,
  checkObject,
  checkOptionNames,
  optionError,
} from 'cio/kit'

/** Options of `nats()`. */
export interface NatsOptions {
  /**
   * A connection that the application has opened. It must have `maxReconnectAttempts: -1`, and
   * should have a short `pingInterval`: by default, NATS notices a broker that hangs after 4
   * minutes. The application closes it. With `noAsyncTraces: true`, requests take less processor
   * time.
   *
   * @default one of its own, made with `connect`
   */
  readonly connection?: NatsConnection
  /**
   * Options of the engine's own connection: servers, credentials, TLS. Cio sets
   * `maxReconnectAttempts: -1`, `pingInterval: 5_000`, `maxPingOut: 2`, `timeout: 5_000` and
   * `noAsyncTraces: true` unless they are given.
   *
   * @default { servers: '127.0.0.1:4222' }
   */
  readonly connect?: NodeConnectionOptions
  /**
   * The first word of all subjects, and the beginning of the names of all buckets. Two applications
   * on one NATS account need different prefixes.
   *
   * @default 'cio'
   */
  readonly prefix?: string
  /**
   * How many brokers store each table. With 3, tables survive the loss of one broker; that needs a
   * cluster of brokers.
   *
   * @default 1
   */
  readonly replicas?: number
  /**
   * Milliseconds to wait for the broker's answer to a change of a table.
   *
   * @default 5_000
   */
  readonly timeout?: number
}

const known = ['connection', 'connect', 'prefix', 'replicas', 'timeout']

/**
 * Checks the options.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkNatsOptions(options: NatsOptions): void {
  checkOptionNames('nats', options, known)
  const { connection, connect, prefix = 'cio', replicas = 1, timeout = 5_000 } = options
  if (connection !== undefined) {
    const methods = ['publish', 'subscribe', 'flush', 'status']
    checkMethods('nats', 'connection', 'a connection of nats.js', connection, methods)
  }
  checkObject('nats', 'connect', connect)
  if (connection && connect) {
    throw optionError('nats', 'connect', 'absent if there is a `connection`', connect)
  }
  if (typeof prefix !== 'string' || !/^[\w-]+$/.test(prefix)) {
    throw optionError('nats', 'prefix', 'letters, digits, `_` and `-`', prefix)
  }
  checkCount('nats', 'replicas', replicas, 1)
  if (replicas > 5) throw optionError('nats', 'replicas', 'at most 5', replicas)
  checkDuration('nats', 'timeout', timeout)
  // Not in the types of nats.js. If it cannot be read, only the doc comment of `connection`
  // requires it.
  const attempts = (connection as { options?: { maxReconnectAttempts?: number } } | undefined)
    ?.options?.maxReconnectAttempts
  if (attempts !== undefined && attempts !== -1) {
    const rule = 'made with `maxReconnectAttempts: -1`; it would give up and never come back'
    throw optionError('nats', 'connection', rule, attempts)
  }
}

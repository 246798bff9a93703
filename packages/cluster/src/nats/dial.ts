/** The first connection to the broker. */

import { setTimeout as delay } from 'node:timers/promises'
import { type NatsConnection, type NodeConnectionOptions, connect } from '@nats-io/transport-node'
import { asError, debug } from 'cio/kit'
import type { EngineState } from '../engine-base.ts'

const log = debug('cio:cluster')

interface Transport {
  close(error: Error): Promise<void>
}

/** Milliseconds between two attempts to reach the broker. */
export const retryDelay = 500

/**
 * Connects, and tries again until the signal aborts or the engine is closed. nats.js cannot be stopped
 * while it connects, so Cio makes one attempt at a time, and does not wait for the last one.
 */
export async function dial(
  engine: EngineState,
  options: NodeConnectionOptions | undefined,
  signal: AbortSignal,
  isClosed: () => boolean,
): Promise<NatsConnection> {
  for (;;) {
    const connecting = connect({
      maxReconnectAttempts: -1,
      // Otherwise nats.js gives up for good when a broker refuses the credentials twice.
      ignoreAuthErrorAbort: true,
      pingInterval: 5_000,
      maxPingOut: 2,
      timeout: 5_000,
      // Otherwise nats.js creates two errors with a stack for each request, in case it fails.
      noAsyncTraces: true,
      ...options,
    })
    try {
      return await engine.wait('open', connecting, signal)
    } catch (error) {
      engine.downCause = asError(error)
      log('no connection: %s', engine.downCause.message)
      if (signal.aborted || isClosed()) {
        connecting.then((late) => late.close()).catch(() => {})
        throw error
      }
      await delay(retryDelay, undefined, { signal })
    }
  }
}

/**
 * Ends a connection over which the broker does not answer, so that nats.js makes another. By itself nats.js
 * first waits until the kernel has taken what it has written: after seconds of messages to a broker that
 * reads nothing, this takes as long as the kernel keeps the connection, a quarter of an hour.
 */
export function abandon(connection: NatsConnection): void {
  // Not in the types of nats.js.
  const { protocol } = connection as { readonly protocol?: { readonly transport?: Transport } }
  void protocol?.transport?.close(new Error('the broker does not answer'))
}

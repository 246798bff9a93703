/**
 * Diagnostic channels of Node, for monitoring tools: `tracing:cio.connection:*` and `tracing:cio.rpc:*`.
 * Without a subscriber, Cio publishes nothing.
 */

import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { ConnectionEnd } from '../connection-end.ts'
import type { ProbedCall } from '../pipeline/probe.ts'
import type { StreamContext } from './stream-context.ts'

/** The message of `tracing:cio.connection:*`: one object from its start to its end. */
export interface ConnectionMessage {
  /** The context of the connection. */
  readonly ctx: StreamContext
  /** From `asyncStart` on. */
  end?: ConnectionEnd
  /** Set if the connection ended by an error. */
  error?: Error
}

/** The message of `tracing:cio.rpc:*`: one object from its start to its end. */
export interface CallMessage {
  /** The context of the connection. */
  readonly ctx: StreamContext
  /** The call. */
  readonly call: ProbedCall
  /** Set if the call failed. */
  error?: Error
}

/** @internal */
export const connections: TracingChannel<string, ConnectionMessage> =
  tracingChannel('cio.connection')

/** @internal */
export const calls: TracingChannel<string, CallMessage> = tracingChannel('cio.rpc')

/** Starts a run inside the stores that are bound to the channel. */
export function publishStart<Ctx extends StreamContext>(
  ctx: Ctx,
  message: ConnectionMessage,
  run: (ctx: Ctx) => Promise<void>,
): Promise<void> {
  const running = connections.start.runStores(message, () => run(ctx))
  connections.end.publish(message)
  return running
}

/** Publishes why a connection ended. */
export function publishEnd(message: ConnectionMessage, end: ConnectionEnd): void {
  message.end = end
  if (end.error) {
    message.error = end.error
    connections.error.publish(message)
  }
  connections.asyncStart.publish(message)
  connections.asyncEnd.publish(message)
}

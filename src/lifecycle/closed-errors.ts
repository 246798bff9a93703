/**
 * Which connection an error of a closed connection means, and which side has closed it. The code alone
 * does not say so: a handler that uses other connections gets the same code from them.
 */

import { isEndedHere } from '../streams/reading.ts'
import { lifeOf } from './context.ts'
import type { StreamContext } from './stream-context.ts'

const contexts = new WeakMap<Error, StreamContext>()
const ofCarriers = new WeakSet<Error>()

/** Notes which connection an error means. */
export function meaning<Closed extends Error>(error: Closed, ctx: StreamContext): Closed {
  contexts.set(error, ctx)
  return error
}

/** Notes that a stream gets this error because this side has destroyed its carrier. */
export function ofCarrier<Closed extends Error>(error: Closed): Closed {
  ofCarriers.add(error)
  return error
}

/** Whether a stream got this error because this side has destroyed its carrier. */
export function isOfCarrier(error: Error): boolean {
  return ofCarriers.has(error)
}

/**
 * Whether an error only says that this connection is closed, because this side has destroyed it. The
 * stream emits `close` in a later turn, and the run does not know of its end before.
 */
export function isOfOwnEnd(error: Error, ctx: StreamContext): boolean {
  return contexts.get(error) === ctx && isDestroyedHere(ctx)
}

/** Whether this side has destroyed the streams of a connection, before the other side ended. */
export function isDestroyedHere(ctx: StreamContext): boolean {
  const { stream, transport } = lifeOf(ctx)
  return isEndedHere(stream, ctx.socket, transport)
}

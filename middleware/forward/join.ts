/** Passes bytes between two streams, both ways, until both directions have ended. */

import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { CioError } from '../../src/errors.ts'
import { type Resettable, reset } from '../../src/streams/reset.ts'

/**
 * Resolves when both directions have ended, or the client has closed; rejects when the target is
 * lost. If one side closes before that, the other side is reset.
 *
 * Calls `.pipe()` twice: each call passes on the end, and applies backpressure to its source.
 * Node's `pipeline()` would create an AbortController for each, and an error with a stack to abort
 * it.
 */
export function join(ctx: ConnectionContext, target: Resettable): Promise<void> {
  const client = ctx.stream
  const upstream = target.stream
  return new Promise((resolve, reject) => {
    let isSettled = false
    let isFlushing = false
    const settle = (error?: Error): void => {
      if (isSettled) return
      isSettled = true
      if (isFlushing) ctx.signal.removeEventListener('abort', destroyUpstream)
      if (error) reject(error)
      else resolve()
    }
    const destroyUpstream = (): void => void upstream.destroy()
    /** Settles when both directions have nothing more to send. */
    const settleIfDone = (): void => {
      const isSent = upstream.destroyed || (upstream.readableEnded && upstream.writableFinished)
      if (isSent && (client.destroyed || client.writableFinished)) settle()
    }
    const onTargetClose = (): void => {
      if (client.destroyed || upstream.readableEnded) return settleIfDone()
      const error = targetLostError(ctx, upstream.errored ?? undefined)
      const done = (): void => {
        ctx.destroy(error)
        settle(error)
      }
      reset(ctx, done, error)
    }
    const onClientClose = (): void => {
      const isWhole = !client.errored && client.readableEnded && client.writableFinished
      if (!isWhole) return reset(target, () => settle(ctx.broken ?? client.errored ?? undefined))
      settleIfDone()
      // The target has not received everything from the client yet.
      isFlushing = !isSettled
      if (isFlushing) ctx.signal.addEventListener('abort', destroyUpstream)
    }
    upstream.on('finish', settleIfDone)
    upstream.on('close', onTargetClose)
    client.on('finish', settleIfDone)
    client.on('close', onClientClose)
    client.pipe(upstream)
    upstream.pipe(client)
    if (client.destroyed) onClientClose()
    else if (upstream.destroyed) onTargetClose()
  })
}

function targetLostError({ remote }: ConnectionContext, cause: Error | undefined): CioError {
  const why = cause?.message ?? 'it closed without an end'
  return new CioError(
    'ERR_CIO_UPSTREAM',
    `the target of \`forward\` for ${remote} is lost: ${why}`,
    {
      cause,
    },
  )
}

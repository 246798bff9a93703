/** Passing bytes between two streams, both ways, until both directions have ended. */

import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { CioError } from '../../src/errors.ts'
import { type Resettable, reset } from '../../src/streams/reset.ts'

/**
 * Fulfils when both directions have ended, or the client has gone; rejects when the target is lost.
 * If one side closes before that, the other side is reset.
 *
 * Two calls of `.pipe()`: each passes on its end and holds back its source. Node's `pipeline()`
 * makes an AbortController for each, and an error with a stack to abort it with.
 */
export function join(ctx: ConnectionContext, target: Resettable): Promise<void> {
  const near = ctx.stream
  const far = target.stream
  return new Promise((resolve, reject) => {
    let isSettled = false
    let isFlushing = false
    const settle = (error?: Error): void => {
      if (isSettled) return
      isSettled = true
      if (isFlushing) ctx.signal.removeEventListener('abort', abandon)
      if (error) reject(error)
      else resolve()
    }
    const abandon = (): void => void far.destroy()
    /** Settles once nothing more has to pass in either direction. */
    const look = (): void => {
      const isSent = far.destroyed || (far.readableEnded && far.writableFinished)
      if (isSent && (near.destroyed || near.writableFinished)) settle()
    }
    const lose = (): void => {
      if (near.destroyed || far.readableEnded) return look()
      const error = lost(ctx, far.errored ?? undefined)
      reset(ctx, () => {
        ctx.destroy(error)
        settle(error)
      })
    }
    const leave = (): void => {
      const isWhole = !near.errored && near.readableEnded && near.writableFinished
      if (!isWhole) return reset(target, () => settle(ctx.broken ?? near.errored ?? undefined))
      look()
      // The target has not taken all that the client sent.
      isFlushing = !isSettled
      if (isFlushing) ctx.signal.addEventListener('abort', abandon)
    }
    far.on('finish', look)
    far.on('close', lose)
    near.on('finish', look)
    near.on('close', leave)
    near.pipe(far)
    far.pipe(near)
    if (near.destroyed) leave()
    else if (far.destroyed) lose()
  })
}

function lost({ remote }: ConnectionContext, cause: Error | undefined): CioError {
  const why = cause?.message ?? 'it left without an end'
  return new CioError(
    'ERR_CIO_UPSTREAM',
    `the target of \`forward\` for ${remote} is lost: ${why}`,
    {
      cause,
    },
  )
}

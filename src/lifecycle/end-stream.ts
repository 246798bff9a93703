/** How the stream of a run ends: after its middleware have returned, or after one has thrown. */

import type { Duplex } from 'node:stream'
import { isRemoteFault } from './app-events.ts'
import type { App } from './app.ts'
import { lifeOf } from './context.ts'
import { startDeadline } from '../deadline.ts'
import { CioError } from '../errors.ts'
import { unwindTimeout } from './lifecycle.ts'
import type { StreamContext } from './stream-context.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import { hasUnreadEnd, isAttached } from '../streams/reading.ts'
import { SteppedDeadline } from '../streams/stepped-deadline.ts'

/**
 * Ends the stream of a run whose middleware have all returned.
 *
 * @throws `ERR_CIO_FLUSH_TIMEOUT` (remote): it did not read what was written in time
 */
export async function endStream(ctx: StreamContext, timeout: number): Promise<void> {
  const life = lifeOf(ctx)
  const { stream, transport = stream } = life
  if (!stream || !transport) return
  if (!life.wasReady) warnOfEarlyReturn(ctx, stream)
  const waiting = stream.writableLength
  // Read now: Node loses the address when it destroys the socket.
  const remote = waiting > 0 ? ctx.remote : ''
  const cut = (): void => life.cut()
  if (hasUnreadEnd(stream)) await endUnread(stream, timeout, cut)
  // A late reader has `halfOpenTimeout` for the rest; nothing more is sent or received.
  if (hasUnreadEnd(stream))
    return void startDeadline(life.times().halfOpen, () => {
      stream.destroy()
      transport.destroy()
    })
  const done = await endGracefully(stream, timeout, { cut })
  // A layer may still be on the stream, or may have failed.
  if (life.cause) return life.disconnect()
  if (done && (await endGracefully(transport, timeout, { cut }))) return
  throw new CioError(
    'ERR_CIO_FLUSH_TIMEOUT',
    `${remote} did not read the last ${waiting} bytes within ${timeout} ms`,
    { fault: 'remote' },
  )
}

/** Ends a stream without reading its buffered input, which is kept for a later reader. */
async function endUnread(stream: Duplex, timeout: number, cut: () => void): Promise<void> {
  const deadline = new SteppedDeadline(timeout, cut)
  const settled = new Promise<void>((resolve) => {
    stream.once('finish', resolve).once('close', resolve)
  })
  stream.end()
  if (!stream.writableFinished && !stream.destroyed) await settled
  deadline.stop()
}

/** Ends the stream of a failed run. */
export async function cut(ctx: StreamContext, error: Error | undefined): Promise<void> {
  const life = lifeOf(ctx)
  const { stream, transport } = life
  const isLive = stream && transport && !stream.destroyed && !transport.destroyed
  const isRefusal = error && isRemoteFault(error, ctx)
  life.blame(error)
  if (isLive && error && life.hasWritten && (isRefusal || stream.writableEnded)) {
    const cut = (): void => life.cut(error)
    await endGracefully(stream, life.times().flush, { linger: unwindTimeout, cut })
  }
  life.disconnect(error)
}

const warned = new WeakMap<App, Set<string>>()

/** A handler that uses events and returns early will lose its stream. */
function warnOfEarlyReturn(ctx: StreamContext, stream: Duplex): void {
  if (stream.destroyed || (stream.readableEnded && stream.writableEnded)) return
  if (!isAttached(stream)) return

  const names = warned.get(ctx.app) ?? new Set()
  warned.set(ctx.app, names)
  if (names.has(ctx.step)) return
  names.add(ctx.step)
  process.emitWarning(
    `\`${ctx.step}\` returned while its stream still has listeners or pipes, so the stream is being ended; a middleware that works with events ends with \`await next()\``,
    { type: 'CioWarning', code: 'CIO_EARLY_RETURN' },
  )
}

/** Asks the other side of a connection for signs of life, and closes it when it is dead. */

import { Watch } from '../../src/deadline.ts'
import { debug } from '../../src/debug.ts'
import { CioError, asError } from '../../src/errors.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { meter } from '../timeout/traffic.ts'
import { Liveness, type HeartbeatTimes, type Passed } from './liveness.ts'

const log = debug('cio:heartbeat')

/** Checks the traffic from time to time, and closes a dead connection. */
export function watchLiveness(
  ctx: StreamContext,
  times: HeartbeatTimes,
  ping: () => void,
): { set(times: HeartbeatTimes): void; heard(): void; stop(): void } {
  const traffic = meter(ctx)
  let pongs = 0
  const passed = (): Passed => {
    const { read: bytes, sent } = traffic.read()
    const received = bytes + pongs
    const { stream, transport } = ctx
    const isPaused = stream.readableLength > 0 || (transport?.readableLength ?? 0) > 0
    return { received, sent, isPaused }
  }
  const liveness = new Liveness(times, Watch.tick, passed())
  let current = times
  let recheck: NodeJS.Immediate | undefined
  const act = (verdict: ReturnType<Liveness['look']>): void => {
    if (verdict === 'dead') return kill(ctx, current)
    if (verdict === 'ping') {
      try {
        ping()
      } catch (thrown) {
        return ctx.destroy(asError(thrown))
      }
    }
    watch.in(liveness.next)
  }
  const look = (tick: number): void => {
    const verdict = liveness.look(tick, passed())
    if (verdict !== 'dead') return act(verdict)
    // One turn of the event loop later: a process that was busy reads the pending input first.
    recheck = setImmediate(() => act(liveness.look(tick, passed())))
  }
  const watch = new Watch(look, (tick) => {
    liveness.stalled(tick)
    // Spread over a second, because all connections send a ping now.
    watch.in(1 + (ctx.id % 4))
  })
  watch.in(liveness.next)
  return {
    set(changed) {
      current = changed
      liveness.set(changed)
      watch.in(liveness.next)
    },
    /** Notes a sign of life that is not a byte of the stream. */
    heard() {
      pongs += 1
    },
    stop() {
      clearImmediate(recheck)
      watch.stop()
      traffic.restore()
    },
  }
}

function kill(ctx: StreamContext, { interval, timeout }: HeartbeatTimes): void {
  const time = (interval === Infinity ? 0 : interval) + timeout
  const message = `nothing was received from ${ctx.remote} for ${time} ms; it, or the link to it, is dead`
  const error = new CioError('ERR_CIO_HEARTBEAT', message, { fault: 'remote', end: 'idle' })
  log('%d %s', ctx.id, message)
  // A client may reconnect; a server connection cannot.
  if (ctx.kind === 'connection') ctx.destroy(error)
  else ctx.disconnect(error)
}

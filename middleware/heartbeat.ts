import type { Interceptor } from '../src/messages/interceptors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import { provide } from '../src/lifecycle/provide.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import type { HeartbeatTimes } from './heartbeat/liveness.ts'
import { watchLiveness } from './heartbeat/watch-liveness.ts'

/** Options of {@link heartbeat}. */
export interface HeartbeatOptions<In = unknown, Out = In> {
  /**
   * Milliseconds of silence in either direction, after which `ping` is sent. `Infinity` never sends
   * one, and lets `timeout` alone decide.
   *
   * @default 30_000
   */
  readonly interval?: number
  /**
   * Milliseconds after `interval`. If nothing was received in this time, the other side is dead.
   * `Infinity` never closes the connection.
   *
   * @default 20_000
   */
  readonly timeout?: number
  /**
   * The message to send as a ping, or a function that makes it. The message itself cannot be a
   * function.
   *
   * @default a ping of the transport (WebSocket, `multiplex`); if it has none, this side sends no pings
   */
  readonly ping?: Out | ((ctx: StreamContext) => Out)
  /**
   * Whether a message is a pong. A pong does not reach the application.
   *
   * @default none does
   */
  readonly isPong?: (message: In) => boolean
  /**
   * The answer to a ping of the other side, or undefined if the message is not a ping. A ping does
   * not reach the application.
   *
   * @default no message is a ping
   */
  readonly pong?: (message: In) => Out | undefined
}

/** The heartbeat of one connection. */
export interface Heartbeat {
  /** Changes the times of this connection, for example to values that both sides have agreed on. */
  set(times: Partial<HeartbeatTimes>): void
  /**
   * Milliseconds between the last ping and its pong. Undefined before the first pong, or if no
   * message counts as a pong.
   */
  readonly roundTrip: number | undefined
}

/** The context that {@link heartbeat} adds. */
export interface HeartbeatContext {
  /** The heartbeat of the connection. */
  heartbeat: Heartbeat
}

/**
 * Heartbeat: pings and pongs (keep-alive), which find dead connections.
 *
 * A connection whose cable is pulled stays open for hours if nothing is sent on it. `heartbeat`
 * sends `ping` after `interval` without a byte received or without a byte sent, and closes the
 * connection if nothing is received for `timeout` more. Any byte is a sign of life, so a connection
 * that talks costs nothing. On a connection of `websocket` and a stream of `multiplex`, it sends the
 * pings of that protocol, unless you give a `ping` of your own.
 *
 * It counts ticks of a timer that all connections share, and not the time of the clock. If this
 * process or its machine was suspended, `heartbeat` pings all connections afterwards, and closes
 * only those that do not answer within `timeout`. A connection with unread input does not count as
 * dead: its answer may be in that input.
 *
 * @pipelines connection, client
 * @order after a codec; before `rateLimit`, `events` and `rpc`, so that they do not see pongs
 * @adds `ctx.heartbeat`
 * @rejects `ERR_CIO_HEARTBEAT` (remote): nothing was received for `interval` and `timeout`
 * @throws `ERR_CIO_OPTION`: an option is not a duration, or of the wrong kind
 *
 * @example
 * import { Cio, heartbeat, json } from 'cio'
 *
 * interface Message { kind: string }
 * const app = new Cio()
 *   .useConnection(json<Message>())
 *   .useConnection(
 *     heartbeat<Message>({
 *       ping: { kind: 'ping' },
 *       isPong: ({ kind }) => kind === 'pong',
 *       pong: ({ kind }) => (kind === 'ping' ? { kind: 'pong' } : undefined),
 *     }),
 *   )
 * const server = await app.listen(0)
 * await server.close()
 */
export function heartbeat<In = unknown, Out = In>(
  options: HeartbeatOptions<In, Out> = {},
): Middleware<StreamContext & MessagesContext<In, Out>, HeartbeatContext> {
  checkOptionNames('heartbeat', options, ['interval', 'timeout', 'ping', 'isPong', 'pong'])
  const { interval = 30_000, timeout = 20_000, ping, isPong, pong } = options
  for (const [name, given] of Object.entries({ isPong, pong })) {
    if (given !== undefined && typeof given !== 'function') {
      throw optionError('heartbeat', name, 'a function', given)
    }
  }
  const initial = checked({ interval, timeout })

  return defineMiddleware<StreamContext & MessagesContext<In, Out>, HeartbeatContext>(
    { name: 'heartbeat', pipelines: ['connection', 'client'] },
    async function heartbeat(ctx, next) {
      const { messages } = ctx
      let times = initial
      let pingedAt: number | undefined
      let roundTrip: number | undefined
      const heard = (): void => {
        if (pingedAt !== undefined) roundTrip = performance.now() - pingedAt
        pingedAt = undefined
      }
      const pingTransport = (): void => {
        const answered = ctx.ping?.()
        if (!answered || pingedAt !== undefined) return
        pingedAt = performance.now()
        const pong = (): void => {
          heard()
          watch.heard()
        }
        // The promise rejects when the connection closes.
        answered.then(pong, () => {})
      }
      const sendPing = (): void => {
        if (ctx.isDraining || !messages.isOpen) return
        if (ping === undefined) return pingTransport()
        pingedAt = performance.now()
        const make = ping as (ctx: StreamContext) => Out
        // If it fails, the connection ends with that error, or `send` reports the fault.
        void messages.send(
          typeof ping === 'function' ? atOnce('heartbeat', 'ping', make(ctx)) : ping,
        )
      }
      const removers: (() => void)[] = []
      if (isPong || pong) {
        removers.push(messages.intercept(answering(messages, isPong, pong, heard)))
      }
      const watch = watchLiveness(ctx, times, sendPing)
      removers.push(() => watch.stop())
      const own: Heartbeat = {
        set(changed) {
          times = checked({ ...times, ...changed })
          watch.set(times)
        },
        get roundTrip() {
          return roundTrip
        },
      }
      try {
        await provide(ctx, 'heartbeat', own, next)
      } finally {
        for (const remove of removers) remove()
      }
    },
  )
}

function checked(times: HeartbeatTimes): HeartbeatTimes {
  for (const [name, value] of Object.entries(times)) {
    checkDuration('heartbeat', name, value)
    if (value === 0) throw optionError('heartbeat', name, 'milliseconds of at least 1', value)
  }
  return times
}

/** Removes pongs, and answers pings. */
function answering<In, Out>(
  messages: Pick<MessagesContext<In, Out>['messages'], 'drained' | 'send'>,
  isPong: ((message: In) => boolean) | undefined,
  pong: ((message: In) => Out | undefined) | undefined,
  heard: () => void,
): Interceptor<In, Out> {
  return {
    received(message) {
      if (isPong && atOnce('heartbeat', 'isPong', isPong(message))) {
        heard()
        return true
      }
      const answer = pong && atOnce('heartbeat', 'pong', pong(message))
      if (answer === undefined) return false
      const full = messages.drained()
      if (!full) {
        void messages.send(answer)
        return true
      }
      // If the other side sends pings but reads no pongs, Cio does not read from it.
      return full.then(() => {
        void messages.send(answer)
        return true
      })
    },
  }
}

export { heartbeat as default }

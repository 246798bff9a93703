import debug from 'debug'
import { constants } from 'node:os'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { untilNoServer } from '../src/server/server-life.ts'
import type { ServerContext } from '../src/server/server.ts'
import { watchSignals } from './drain/signals.ts'

const log = debug('cio:drain')

/** Options of {@link drain}. */
export interface DrainOptions {
  /**
   * The signals of the operating system that it waits for.
   *
   * @default ['SIGTERM', 'SIGINT']
   */
  readonly signals?: readonly NodeJS.Signals[]
  /**
   * Milliseconds from the signal until the server stops accepting: time for load balancers to take
   * notice and to send new connections elsewhere. A second signal ends it.
   *
   * @default 0
   */
  readonly delay?: number
  /**
   * Milliseconds from when it stops accepting until the connections that are left are destroyed.
   * `Infinity` waits for them for ever.
   *
   * @default 15_000
   */
  readonly timeout?: number
  /**
   * Milliseconds over which the connections are asked to finish, so that their peers do not all
   * come back at once; at most `timeout`. 0 asks all of them at once.
   *
   * @default 0
   */
  readonly spread?: number
  /**
   * Milliseconds that the process may live on once the server is gone; then it is ended, and
   * `error` says what kept it. `Infinity` leaves the process to itself.
   *
   * @default Infinity
   */
  readonly exitTimeout?: number
  /**
   * Keeps the channel to the primary of a `node:cluster` worker. Without, `drain` closes it after
   * the signal, once the last server of the worker is gone: else it keeps the worker alive.
   *
   * @default false
   */
  readonly keepChannel?: boolean
}

/** A server that a signal has stopped, as the event `drain` tells it. */
export interface Drain {
  readonly signal: NodeJS.Signals
  /** Whether it is the second signal: what is left has been destroyed. */
  readonly forced: boolean
}

/** A server that is gone, as the event `drained` tells it. */
export interface Drained {
  /** How many connections had to be destroyed. */
  readonly forced: number
  /** Milliseconds since the signal. */
  readonly duration: number
}

declare module '../src/lifecycle/app-events.ts' {
  interface AppEvents {
    /** A signal has come, and a server does not accept any more. Again with the second signal. */
    drain: [drain: Drain, server: ServerContext]
    /** That server is gone, and all its middleware have returned. */
    drained: [drained: Drained, server: ServerContext]
  }
}

const defaultTimeout = 15_000
// A terminal sends its signal to all processes of a job, and npm and its like send it once more.
const echo = 300

/** Servers of this process that a signal has stopped and that are not gone. */
let underWay = 0

/**
 * Finishes what is under way when the process is told to stop.
 *
 * On the first signal the server stops accepting, `ctx.draining` aborts on the server and on each
 * connection, and it waits for them. Loops over `ctx.messages` end between messages; a middleware
 * with a word of farewell says it when `ctx.draining` aborts. What is left at the deadline is
 * destroyed, and told by `remoteError` as `ERR_CIO_DRAIN_TIMEOUT`. Then the server's middleware
 * return, innermost first. A second signal destroys what is left at once; a third ends the process
 * as if nobody listened. The same signal within 300 ms of the first is taken for its echo.
 *
 * The process ends by itself when nothing is left for it to do. `process.exitCode` is 1 if
 * connections had to be destroyed, and else as it was: 0. In a worker of `node:cluster` the channel to
 * the primary is closed for that. `SIGHUP` does nothing while it drains.
 *
 * @pipelines server
 * @order anywhere; it waits for the whole server, also for what stands outside it
 * @adds nothing
 * @rejects `ERR_CIO_DRAIN_TIMEOUT` (remote): a connection was open at the deadline;
 *   `ERR_CIO_EXIT_TIMEOUT` (local): something else keeps the process longer than `exitTimeout`
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, drain } from 'cio'
 *
 * const app = new Cio()
 *   .useServer(drain({ timeout: 10_000, spread: 2_000 }))
 *   .useConnection(async ({ stream }, next) => {
 *     stream.pipe(stream)
 *     await next()
 *   })
 * app.on('drain', ({ signal }) => console.log(`${signal}: finishing`))
 */
export function drain(options: DrainOptions = {}): Middleware<ServerContext> {
  checkOptionNames('drain', options, [
    'signals',
    'delay',
    'timeout',
    'spread',
    'exitTimeout',
    'keepChannel',
  ])
  const { signals = ['SIGTERM', 'SIGINT'], timeout = defaultTimeout, spread = 0 } = options
  const { delay = 0, exitTimeout = Infinity, keepChannel = false } = options
  checkSignals(signals)
  checkDuration('drain', 'timeout', timeout)
  checkDuration('drain', 'delay', delay)
  if (delay === Infinity) throw optionError('drain', 'delay', 'finite', delay)
  if (typeof keepChannel !== 'boolean') {
    throw optionError('drain', 'keepChannel', 'true or false', keepChannel)
  }
  checkDuration('drain', 'exitTimeout', exitTimeout)
  checkDuration('drain', 'spread', spread)
  if (spread === Infinity || spread > timeout) {
    throw optionError('drain', 'spread', 'finite, and at most `timeout`', spread)
  }
  const watched = new WeakSet<ServerContext>()

  return defineMiddleware<ServerContext>({ name: 'drain' }, function drain(ctx, next) {
    // Where something outside it runs it again, it watches already.
    if (watched.has(ctx)) return next()
    watched.add(ctx)
    let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined
    const heard = (signal: NodeJS.Signals): void => {
      const now = performance.now()
      if (first && signal === first.signal && now - first.at < echo) return
      log('%s, %s', signal, first ? 'destroys what is left' : 'stops accepting')
      emitSafely(ctx.app, 'drain', { signal, forced: first !== undefined }, ctx)
      if (first) {
        stop()
        void ctx.close({ timeout: 0 })
        return
      }
      first = { signal, at: now }
      forgetHangup = watchSignals(['SIGHUP'], () => {})
      // What the kernel has connected already is accepted in this turn.
      if (delay === 0) setImmediate(() => void finish(now))
      else waiting = setTimeout(begin, delay)
    }
    const finish = async (began: number): Promise<void> => {
      underWay += 1
      const { forced } = await ctx.close({ timeout, spread })
      underWay -= 1
      if (forced > 0) process.exitCode = 1
      emitSafely(ctx.app, 'drained', { forced, duration: performance.now() - began }, ctx)
      if (underWay > 0) return
      if (!keepChannel) await leaveCluster()
      exitAfter(exitTimeout, ctx)
    }
    let waiting: NodeJS.Timeout | undefined
    const begin = (): void => {
      clearTimeout(waiting)
      waiting = undefined
      void finish(first!.at)
    }
    let forgetHangup = (): void => {}
    const stop = watchSignals(signals, heard)
    void ctx.closed.then(() => {
      stop()
      // A second signal, or something else, has ended it within the delay.
      if (waiting) begin()
      forgetHangup()
    })
    return next()
  })
}

/** Closes the channel of a worker to its primary, which else keeps it alive without a server. */
async function leaveCluster(): Promise<void> {
  if (!process.connected) return
  const { default: cluster } = await import('node:cluster')
  await untilNoServer()
  if (cluster.isWorker && process.connected) cluster.worker!.disconnect()
}

/** Waits without keeping the process itself: one with nothing left to do has ended by then. */
function exitAfter(timeout: number, ctx: ServerContext): void {
  if (timeout === Infinity) return
  const exit = (): void => {
    const kept = [...new Set(process.getActiveResourcesInfo())].join(', ')
    const message = `the process was still there ${timeout} ms after its server had closed, and was ended; what it held: ${kept}; close it when \`next()\` of a server middleware returns`
    reportError(ctx.app, new CioError('ERR_CIO_EXIT_TIMEOUT', message), ctx)
    process.exit()
  }
  setTimeout(exit, timeout).unref()
}

function checkSignals(signals: readonly NodeJS.Signals[]): void {
  const rule = 'a list of names of signals that can be caught'
  if (!Array.isArray(signals) || signals.length === 0) {
    throw optionError('drain', 'signals', rule, signals)
  }
  for (const signal of signals) {
    const known = Object.hasOwn(constants.signals, signal)
    if (!known || signal === 'SIGKILL' || signal === 'SIGSTOP') {
      throw optionError('drain', 'signals', rule, signal)
    }
  }
}

export { drain as default }

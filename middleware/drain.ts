import { constants } from 'node:os'
import { debug } from '../src/debug.ts'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkFlag, checkOptionNames, optionError } from '../src/options.ts'
import { untilNoServer } from '../src/server/server-life.ts'
import type { ServerContext } from '../src/server/server.ts'
import { watchSignals } from './drain/signals.ts'

const log = debug('cio:drain')

/** Options of {@link drain}. */
export interface DrainOptions {
  /**
   * The signals of the operating system that start the shutdown.
   *
   * @default ['SIGTERM', 'SIGINT']
   */
  readonly signals?: readonly NodeJS.Signals[]
  /**
   * Milliseconds between the signal and the moment when the server stops accepting. Load balancers
   * use this time to notice, and to send new connections elsewhere. A second signal ends it.
   *
   * @default 0
   */
  readonly delay?: number
  /**
   * Milliseconds between the moment when the server stops accepting and the moment when Cio
   * destroys the remaining connections. `Infinity` waits for ever.
   *
   * @default 15_000
   */
  readonly timeout?: number
  /**
   * Milliseconds over which Cio spreads the requests to finish, so that the clients do not all
   * reconnect at once; at most `timeout`. 0 asks all connections at once.
   *
   * @default 0
   */
  readonly spread?: number
  /**
   * Milliseconds that a connection has, from accept, before Cio asks it to finish; at most
   * `timeout`. So a client that connected right before the signal still gets its answer.
   *
   * @default 1_000, or `timeout` if that is less
   */
  readonly minLifetime?: number
  /**
   * Milliseconds that the process may keep running after the server has closed. Then Cio ends the
   * process, and `error` says what kept it alive. `Infinity` never ends it.
   *
   * @default Infinity
   */
  readonly exitTimeout?: number
  /**
   * Keeps the channel of a `node:cluster` worker to the primary open. By default `drain` closes it
   * after a signal, when the last server of the worker has closed, because it would keep the worker
   * alive.
   *
   * @default false
   */
  readonly keepChannel?: boolean
}

/** The first argument of the event `drain`: why the server stops. */
export interface Drain {
  /** The signal that arrived. */
  readonly signal: NodeJS.Signals
  /** Whether it is the second signal, after which Cio destroys the remaining connections. */
  readonly forced: boolean
}

/** The first argument of the event `drained`: how the shutdown went. */
export interface Drained {
  /** How many connections Cio destroyed. */
  readonly forced: number
  /** Milliseconds since the signal. */
  readonly duration: number
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /** A signal arrived, and the server stops accepting. Emitted again for a second signal. */
    drain: [drain: Drain, server: ServerContext]
    /** The server has closed, and all its middleware have returned. */
    drained: [drained: Drained, server: ServerContext]
  }
}

const defaultTimeout = 15_000
const defaultMinLifetime = 1_000
// A terminal sends its signal to all processes of a job, and npm, for example, forwards it once
// more.
const duplicateWithin = 300

/** Servers of this process that a signal has stopped and that have not closed yet. */
let drainingServers = 0

/**
 * Graceful shutdown: drains connections on SIGTERM or SIGINT.
 *
 * On the first signal the server stops accepting, `ctx.draining` aborts on the server and on each
 * connection, and Cio waits for the connections to close. Loops over `ctx.messages` end between
 * messages; a middleware may send a last message when `ctx.draining` aborts. At the deadline Cio
 * destroys the remaining connections, and emits `remoteError` with `ERR_CIO_DRAIN_TIMEOUT` for
 * each. Then the server's middleware return, innermost first. A second signal destroys the
 * remaining connections at once. A third signal ends the process as if it had no listener. Cio
 * ignores the same signal within 300 ms of the first, as a duplicate.
 *
 * The process ends by itself when it has nothing left to do. `process.exitCode` is 1 if Cio
 * destroyed connections, and unchanged otherwise (normally 0). In a worker of `node:cluster`,
 * `drain` closes the channel to the primary so that the worker can end. `SIGHUP` does not end the
 * process during a drain.
 *
 * @pipelines server
 * @order anywhere; it waits for the whole server, including middleware registered before it
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
    'minLifetime',
    'exitTimeout',
    'keepChannel',
  ])
  const { signals = ['SIGTERM', 'SIGINT'], timeout = defaultTimeout, spread = 0 } = options
  const { delay = 0, exitTimeout = Infinity, keepChannel = false } = options
  checkSignals(signals)
  checkDuration('drain', 'timeout', timeout)
  checkDuration('drain', 'delay', delay)
  if (delay === Infinity) throw optionError('drain', 'delay', 'finite', delay)
  checkFlag('drain', 'keepChannel', keepChannel)
  checkDuration('drain', 'exitTimeout', exitTimeout)
  const { minLifetime = Math.min(defaultMinLifetime, timeout) } = options
  for (const [option, value] of Object.entries({ spread, minLifetime })) {
    checkDuration('drain', option, value)
    if (value === Infinity || value > timeout) {
      throw optionError('drain', option, 'finite, and at most `timeout`', value)
    }
  }
  const watched = new WeakSet<ServerContext>()

  return defineMiddleware<ServerContext>(
    { name: 'drain', pipelines: ['server'] },
    function drain(ctx, next) {
      // An outer middleware may run this one again. Then the signals are watched already.
      if (watched.has(ctx)) return next()
      watched.add(ctx)
      let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined
      const onSignal = (signal: NodeJS.Signals): void => {
        const now = performance.now()
        if (first && signal === first.signal && now - first.at < duplicateWithin) return
        log('%s, %s', signal, first ? 'destroys the remaining connections' : 'stops accepting')
        emitSafely(ctx.app, 'drain', { signal, forced: first !== undefined }, ctx)
        if (first) {
          stop()
          void ctx.close({ timeout: 0 })
          return
        }
        first = { signal, at: now }
        stopIgnoringHangup = watchSignals(['SIGHUP'], () => {})
        // Waits one turn of the event loop, in which Node still accepts the connections that the
        // kernel has completed.
        if (delay === 0) setImmediate(() => void finish(now))
        else waiting = setTimeout(begin, delay)
      }
      const finish = async (began: number): Promise<void> => {
        drainingServers += 1
        const { forced } = await ctx.close({ timeout, spread, minLifetime })
        drainingServers -= 1
        if (forced > 0) process.exitCode = 1
        emitSafely(ctx.app, 'drained', { forced, duration: performance.now() - began }, ctx)
        if (drainingServers > 0) return
        if (!keepChannel) await leaveCluster()
        exitAfter(exitTimeout, ctx)
      }
      let waiting: NodeJS.Timeout | undefined
      const begin = (): void => {
        clearTimeout(waiting)
        waiting = undefined
        void finish(first!.at)
      }
      let stopIgnoringHangup = (): void => {}
      const stop = watchSignals(signals, onSignal)
      void ctx.closed.then(() => {
        stop()
        // A second signal, or another caller, has closed the server during the delay.
        if (waiting) begin()
        stopIgnoringHangup()
      })
      return next()
    },
  )
}

/**
 * Closes the channel of a worker to its primary, which would keep the worker alive without a
 * server.
 */
async function leaveCluster(): Promise<void> {
  if (!process.connected) return
  const { default: cluster } = await import('node:cluster')
  await untilNoServer()
  if (cluster.isWorker && process.connected) cluster.worker!.disconnect()
}

/** The timer is unref'd: a process with nothing left to do ends before it fires. */
function exitAfter(timeout: number, ctx: ServerContext): void {
  if (timeout === Infinity) return
  const exit = (): void => {
    const kept = [...new Set(process.getActiveResourcesInfo())].join(', ')
    const message = `the process was still running ${timeout} ms after its server had closed, so \`drain\` ended it; it was kept alive by: ${kept}; close these when \`next()\` of a server middleware returns`
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

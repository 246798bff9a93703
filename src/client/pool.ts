/** A pool of clients: several targets, several connections to each. */

import { EventEmitter } from 'node:events'
import { CioError, asError, isCioError } from '../errors.ts'
import type { ClientContext } from './client.ts'
import type { App } from '../lifecycle/app.ts'
import { whenUntaken } from '../lifecycle/unawaited.ts'
import {
  checkCount,
  checkDuration,
  checkOptionNames,
  checkSignal,
  optionError,
} from '../options.ts'
import { anyOf } from '../streams/lazy-abort.ts'
import type {
  ConnectsClients,
  PoolCall,
  PoolEvents,
  PoolTargetState,
  UseOptions,
} from './pool/pool-types.ts'
import { type Clock, realClock } from './pool/clock.ts'
import { type PoolOptions, type PoolSettings, checkApp, settingsOf } from './pool/options.ts'
import type { PoolTarget } from './pool/pool-types.ts'
import { type Member, sentSince } from './pool/member.ts'
import { callOf, useOptionsOf } from './pool/pool-call.ts'
import { closedError, lostError, poolFullError, poolTimeoutError } from './pool/pool-errors.ts'
import { PoolReports } from './pool/pool-reports.ts'
import { type TargetWatch, followTargets } from './pool/target-watch.ts'
import type { Upstream } from './pool/upstream.ts'
import { Upstreams } from './pool/upstreams.ts'
import { WaitingUses } from './pool/waiting-uses.ts'

/** Milliseconds that `close()` waits for uses that are under way. */
const closeTimeout = 30_000

/**
 * Load balancing for clients: a pool of connections to several targets.
 *
 * Each use gets the less loaded of two connections that are drawn by weight (power of two choices).
 * The pool connects again with exponential backoff; a target that fails several times in a row is
 * ejected for some time, but never the last one. A use is tried again, on another target and once, if
 * nothing of it was sent (`ERR_CIO_CLOSED`), or if it failed and is `idempotent`.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range, or the app has `reconnect`. A use:
 *   `ERR_CIO_POOL_FULL`, `ERR_CIO_POOL_TIMEOUT`, `ERR_CIO_CLOSED` (local), or its own error
 *
 * @example
 * import { Cio, json, rpc } from 'cio'
 * import { Pool } from 'cio/pool'
 *
 * interface Arithmetic { add(params: [a: number, b: number]): number }
 *
 * const server = await new Cio()
 *   .useConnection(json())
 *   .useConnection(rpc<{}, Arithmetic>({ methods: { add: ([a, b]) => a + b } }))
 *   .listen(0)
 * const app = new Cio().useClient(json()).useClient(rpc<Arithmetic>())
 * const pool = new Pool(app, { targets: [{ port: server.port }], connections: 2 })
 * console.log(await pool.call('add', [1, 2])) // 3
 * await pool.close()
 * await server.close()
 */
export class Pool<Client extends object = {}> extends EventEmitter<PoolEvents> {
  readonly #settings: PoolSettings
  readonly #clock: Clock
  readonly #reports: PoolReports<Client>
  readonly #upstreams: Upstreams<Client>
  readonly #waiting: WaitingUses<Member<Client>>
  readonly #watch: TargetWatch | undefined
  #isClosed = false

  constructor(app: ConnectsClients<Client>, options: PoolOptions)
  /** @internal with a clock of its own, for tests */
  constructor(app: ConnectsClients<Client>, options: PoolOptions, clock: Clock)
  constructor(app: ConnectsClients<Client>, options: PoolOptions, clock: Clock = realClock) {
    super({ captureRejections: true })
    const settings = settingsOf(options)
    checkApp(app)
    const reports = new PoolReports<Client>(this, app as unknown as App)
    this.#reports = reports
    this.#settings = settings
    this.#clock = clock
    this.#waiting = new WaitingUses(clock, settings.waitTimeout)
    this.#upstreams = new Upstreams(settings, {
      clock,
      ...settings,
      connect: (target, signal) => app.connect({ ...settings.connect, ...target, signal }),
      changed: () => this.#changed(),
      unfit: (error) => this.#waiting.rejectAll(() => error),
      ejected: reports.ejected,
      restored: reports.restored,
    })
    const changed = (): void => {
      this.#changed()
      reports.changed(this.targets)
    }
    const update = (targets: readonly PoolTarget[]): boolean => this.#upstreams.update(targets)
    const { failed } = reports
    this.#watch = followTargets(options.targets, { clock, settings, update, changed, failed })
  }

  /** The targets, for a page or metrics. */
  get targets(): readonly PoolTargetState[] {
    return this.#upstreams.states
  }

  /** How many uses wait for a connection. */
  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Fulfils when so many connections are ready (`min`, 1 by default).
   *
   * @throws `ERR_CIO_POOL_TIMEOUT`: not within `waitTimeout`; the reason of `signal`
   */
  ready(options: { min?: number; signal?: AbortSignal } = {}): Promise<void> {
    return whenUntaken(this.#whenReady(options), this.#reports.untaken)
  }

  async #whenReady(options: { min?: number; signal?: AbortSignal }): Promise<void> {
    checkOptionNames('ready', options, ['min', 'signal'])
    const { min = 1, signal } = options
    checkCount('ready', 'min', min)
    checkSignal('ready', signal)
    signal?.throwIfAborted()
    if (this.#isClosed) throw closedError()
    this.#upstreams.checkFit()
    const holds = (): boolean => this.#upstreams.connected >= min
    await this.#waiting.until(holds, signal, () => this.#timeoutError())
  }

  /**
   * Uses a connection. The work gets the client, and a signal that aborts when its connection is lost,
   * or with `signal`.
   *
   * @throws `ERR_CIO_POOL_FULL`, `ERR_CIO_POOL_TIMEOUT`, `ERR_CIO_CLOSED` (local), or what the work
   *   throws
   */
  use<Result>(
    work: (client: ClientContext & Client, signal: AbortSignal) => Result | PromiseLike<Result>,
    options: UseOptions = {},
  ): Promise<Result> {
    return whenUntaken(this.#use(work, options), this.#reports.untaken)
  }

  async #use<Result>(
    work: (client: ClientContext & Client, signal: AbortSignal) => Result | PromiseLike<Result>,
    options: UseOptions,
    isCall = false,
  ): Promise<Result> {
    checkOptionNames('use', options, ['idempotent', 'signal'])
    if (typeof work !== 'function') throw optionError('use', 'work', 'a function', work)
    const { idempotent = false, signal } = options
    checkSignal('use', signal)
    signal?.throwIfAborted()
    let member = this.#choose(idempotent) ?? (await this.#wait(signal, idempotent))
    // One function, without further promises: each of them would add noticeably to the cost of a
    // call.
    for (let isRetry = false; ; isRetry = true) {
      const { client, upstream } = member
      const { epoch } = upstream
      // The work may have sent one message before it could not send another.
      const hasSent = isCall || !client ? () => false : sentSince(client)
      try {
        // The connection was lost after it had been chosen.
        if (!client) throw lostError()
        const result = await work(client, anyOf(client.signal, signal))
        if (upstream.epoch === epoch) upstream.succeeded()
        this.#settings.budget.deposit()
        this.#settle(member, epoch)
        return result
      } catch (error) {
        // A lost connection counts once, when it closes, and not for each of its uses.
        const counts = client && !client.isClosed && !signal?.aborted && upstream.epoch === epoch
        try {
          if (counts && this.#settings.isFailure(error)) upstream.failed(asError(error))
          else if (counts) upstream.succeeded()
        } finally {
          this.#settle(member, epoch)
        }
        const isUnsent = isCioError(error, 'ERR_CIO_CLOSED') && !hasSent()
        const mayRetry = isUnsent || (idempotent && this.#settings.isFailure(error))
        const other = isRetry || !mayRetry ? undefined : this.#retry(upstream, signal)
        if (!other) throw error
        member = other
      }
    }
  }

  /**
   * Calls a method of the other side, as `ctx.rpc.call` or `ctx.requests.call` does. Its `signal` ends
   * the wait for a connection too; its `timeout` begins after that wait.
   *
   * The pool repeats a call only if nothing of it was sent. To repeat one that failed later, pass it to
   * `use` as `idempotent`: `pool.use(({ rpc }) => rpc.call('add', [1, 2]), { idempotent: true })`.
   */
  readonly call: PoolCall<Client> = ((...given: readonly unknown[]) => {
    const used = this.#use((client) => callOf(client)(...given), useOptionsOf(given), true)
    return whenUntaken(used, this.#reports.untaken)
  }) as PoolCall<Client>

  /**
   * Graceful shutdown: refuses new uses, waits for those under way, and closes the connections.
   * Destroys what is left after `timeout` milliseconds.
   */
  async close(options: { timeout?: number } = {}): Promise<void> {
    checkOptionNames('close', options, ['timeout'])
    const { timeout = closeTimeout } = options
    checkDuration('close', 'timeout', timeout)
    this.#isClosed = true
    this.#watch?.stop()
    this.#waiting.rejectAll(closedError)
    this.#upstreams.leave()
    const clients = this.#upstreams.members.flatMap(({ client }) => client ?? [])
    const all = Promise.all(clients.map(({ closed }) => closed))
    if (timeout === Infinity) return void (await all)
    const stop = this.#clock.after(timeout, () => {
      for (const client of clients) void client.close({ timeout: 0 })
    })
    await all
    stop()
  }

  /** Calls `close()` at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #choose(idempotent: boolean, except?: Upstream<Client>): Member<Client> | undefined {
    if (this.#isClosed) throw closedError()
    return this.#upstreams.choose(idempotent, except)
  }

  #settle(member: Member<Client>, epoch: number): void {
    const { upstream } = member
    if (upstream.epoch === epoch && upstream.state === 'probing') upstream.probeAgain()
    member.released()
    this.#serve()
  }

  #retry(upstream: Upstream<Client>, signal: AbortSignal | undefined): Member<Client> | undefined {
    if (this.#isClosed || signal?.aborted) return undefined
    const other = this.#choose(false, upstream)
    if (!other || this.#settings.budget.withdraw()) return other
    other.released()
    return undefined
  }

  #wait(signal: AbortSignal | undefined, idempotent: boolean): Promise<Member<Client>> {
    const { maxWaiting } = this.#settings
    if (this.#waiting.size >= maxWaiting) {
      throw poolFullError(maxWaiting)
    }
    this.#upstreams.checkFit()
    const choose = (): Member<Client> | undefined => this.#choose(idempotent)
    return this.#waiting.add(choose, signal, () => this.#timeoutError())
  }

  #timeoutError(): CioError {
    return poolTimeoutError(this.#settings, this.#upstreams, this.#watch?.error)
  }

  #changed(): void {
    this.#upstreams.changed()
    this.#serve()
    this.#waiting.changed()
  }

  #serve(): void {
    if (this.#waiting.size > 0 && !this.#isClosed) this.#waiting.serve()
  }
}

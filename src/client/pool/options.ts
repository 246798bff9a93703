/** The options of a pool, checked. */

import type { ConnectOptions } from '../connect-options.ts'
import {
  checkCount,
  checkDuration,
  checkMethods,
  checkObject,
  checkOptionNames,
  optionError,
} from '../../options.ts'
import { Backoff } from '../../rates/backoff.ts'
import { RetryBudget } from '../../rates/retry-budget.ts'
import { checkOptions } from '../../lifecycle/known-options.ts'
import { CioError, isCioError } from '../../errors.ts'
import { atOnce } from '../../thenable.ts'
import { isNetworkError } from '../../network-errors.ts'
import type { ConnectsClients, PoolTarget } from './pool-types.ts'
import type { TargetSource } from './target-sources.ts'
import type { Ejection } from './upstream.ts'

/** When a pool stops using a target that fails. */
export interface EjectOptions {
  /**
   * Failures in a row after which a target is ejected.
   *
   * @default 5
   */
  readonly failures?: number
  /**
   * Milliseconds of the first ejection, before jitter; each further one takes twice as long.
   *
   * @default 10_000
   */
  readonly duration?: number
  /**
   * Longest ejection in milliseconds.
   *
   * @default 300_000
   */
  readonly maxDuration?: number
  /**
   * The share of the targets that may be ejected at once. The last one never is.
   *
   * @default 0.5
   */
  readonly maxShare?: number
}

/** Options of a {@link Pool}. */
export interface PoolOptions {
  /**
   * The targets, each with a host and a port, or with a path. Or a source of targets, such as
   * `dnsTargets()`.
   */
  readonly targets: readonly PoolTarget[] | TargetSource
  /**
   * Options of `connect()`, for each connection.
   *
   * @default none
   */
  readonly connect?: ConnectOptions
  /**
   * Connections to each target.
   *
   * @default 1
   */
  readonly connections?: number
  /**
   * Maximum concurrent uses of one connection. The pool does not choose a connection that is full.
   *
   * @default 100
   */
  readonly maxPending?: number
  /**
   * Maximum uses that wait for a connection. Further uses reject.
   *
   * @default 1_000
   */
  readonly maxWaiting?: number
  /**
   * Milliseconds that a use waits for a connection.
   *
   * @default 5_000
   */
  readonly waitTimeout?: number
  /**
   * When to stop using a target that fails.
   *
   * @default {}
   */
  readonly eject?: EjectOptions
  /**
   * Milliseconds over which a target that is new, or back, grows to its share. 0 gives it all at once.
   *
   * @default 10_000
   */
  readonly slowStartDuration?: number
  /**
   * Whether the error of a use counts against its target.
   *
   * @default an error of the network, a call that timed out or whose connection was lost
   */
  readonly isFailure?: (error: unknown) => boolean
  /**
   * Bounds the retries of all pools that share it.
   *
   * @default a budget of its own
   */
  readonly budget?: RetryBudget
}

/** Checked options, with their defaults. */
export interface PoolSettings {
  readonly connect: ConnectOptions
  readonly connections: number
  readonly maxPending: number
  readonly maxWaiting: number
  readonly waitTimeout: number
  readonly ejection: Ejection
  readonly slowStartDuration: number
  readonly isFailure: (error: unknown) => boolean
  readonly budget: RetryBudget
  readonly backoff: Backoff
}

const failures: ReadonlySet<string> = new Set([
  'ERR_CIO_ANSWER_LOST',
  'ERR_CIO_CALL_TIMEOUT',
  'ERR_CIO_CLOSED',
  'ERR_CIO_HEARTBEAT',
])

function isFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return isCioError(error) ? failures.has(error.code) : isNetworkError(error)
}

/** Whether targets come from a source, and change. */
export function isSource(targets: PoolOptions['targets']): targets is TargetSource {
  return !Array.isArray(targets) && typeof (targets as TargetSource | null)?.resolve === 'function'
}

/** Checks a list of targets, each with the options of `connect()` for all. */
export function checkTargets(targets: unknown, connect: ConnectOptions): void {
  if (!Array.isArray(targets) || targets.length === 0) {
    throw optionError('Pool', 'targets', 'a list of one or more targets, or a source', targets)
  }
  for (const given of targets as readonly unknown[]) {
    if (typeof given !== 'object' || given === null || Array.isArray(given)) {
      throw optionError('Pool', 'targets', 'objects with a `port` or a `path`', given)
    }
    checkObject('Pool', 'targets', given)
    const { weight = 1, priority = 0, ...target } = given as PoolTarget
    // Checked here: with a wrong option the pool would try to connect again and again.
    checkOptions('connect', { ...connect, ...target })
    if (!Number.isFinite(weight) || weight <= 0) {
      throw optionError('Pool', 'weight', 'a number above 0', weight)
    }
    if (!Number.isFinite(priority)) throw optionError('Pool', 'priority', 'a number', priority)
  }
}

/** Checks the options. */
export function settingsOf(options: PoolOptions): PoolSettings {
  checkOptionNames('Pool', options, names)
  const { targets, connect = {}, eject = {}, connections = 1, maxPending = 100 } = options
  const { maxWaiting = 1_000, waitTimeout = 5_000, slowStartDuration = 10_000 } = options
  checkObject('Pool', 'connect', connect)
  if (isSource(targets)) checkOptions('connect', connect)
  else checkTargets(targets, connect)
  checkCount('Pool', 'connections', connections, 1)
  if (connections === Infinity) throw optionError('Pool', 'connections', 'finite', connections)
  checkCount('Pool', 'maxPending', maxPending, 1)
  checkCount('Pool', 'maxWaiting', maxWaiting)
  checkDuration('Pool', 'waitTimeout', waitTimeout)
  checkDuration('Pool', 'slowStartDuration', slowStartDuration)
  if (slowStartDuration === Infinity) {
    throw optionError('Pool', 'slowStartDuration', 'finite', slowStartDuration)
  }
  const { isFailure: given = isFailure, budget = new RetryBudget() } = options
  if (typeof given !== 'function') throw optionError('Pool', 'isFailure', 'a function', given)
  if (!(budget instanceof RetryBudget)) {
    throw optionError('Pool', 'budget', 'a RetryBudget', budget)
  }
  return {
    connect,
    connections,
    maxPending,
    maxWaiting,
    waitTimeout,
    slowStartDuration,
    ejection: ejectionOf(eject),
    isFailure: (error) => atOnce('Pool', 'isFailure', given(error)),
    budget,
    backoff: new Backoff('Pool', { delay: 500, maxDelay: 30_000, factor: 2, jitter: 1 }),
  }
}

function ejectionOf(eject: EjectOptions): Ejection {
  checkOptionNames('Pool: eject', eject, ['failures', 'duration', 'maxDuration', 'maxShare'])
  const { failures = 5, duration = 10_000, maxDuration = 300_000, maxShare = 0.5 } = eject
  checkCount('Pool: eject', 'failures', failures, 1)
  checkDuration('Pool: eject', 'duration', duration)
  checkDuration('Pool: eject', 'maxDuration', maxDuration)
  if (maxDuration === Infinity || maxDuration < duration) {
    throw optionError('Pool: eject', 'maxDuration', 'finite, and at least `duration`', maxDuration)
  }
  if (!(typeof maxShare === 'number' && maxShare >= 0 && maxShare <= 1)) {
    throw optionError('Pool: eject', 'maxShare', 'a number from 0 to 1', maxShare)
  }
  return { failures, duration, maxDuration, maxShare }
}

const names = [
  'targets',
  'connect',
  'connections',
  'maxPending',
  'maxWaiting',
  'waitTimeout',
  'eject',
  'slowStartDuration',
  'isFailure',
  'budget',
]

/**
 * Checks the app of a pool.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkApp(app: Pick<ConnectsClients<object>, 'pipelines'>): void {
  checkMethods('Pool', 'app', 'a Cio', app, ['connect'])
  if (!app.pipelines.client.names.includes('reconnect')) return
  throw new CioError(
    'ERR_CIO_OPTION',
    'Pool: its app has `reconnect`, and the pool connects again itself; leave `reconnect` out',
  )
}

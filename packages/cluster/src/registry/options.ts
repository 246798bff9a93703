/** The options of `registry()`. */

import type { Rate, StreamContext } from 'cio'
import {
  checkCount,
  checkDuration,
  checkOptionNames,
  checkRate,
  checkSignal,
  optionError,
} from 'cio/kit'
import { leastTtl } from '../engine.ts'

/** Options of `Registry.send()` and `Registry.evict()`. */
export interface ReachOptions {
  /**
   * Milliseconds to wait for the instance of the connection.
   *
   * @default 5_000
   */
  readonly timeout?: number
  /** Ends the wait. Without it, only the answer and the timeout do. */
  readonly signal?: AbortSignal
}

/** Options of `Registry.evict()`. */
export interface EvictRemoteOptions extends ReachOptions {
  /**
   * The reason, for the message of the error at the instance of the connection.
   *
   * @default ''
   */
  readonly reason?: string
}

/** Options of `registry()`. */
export interface RegistryOptions<Needs extends StreamContext = StreamContext> {
  /**
   * The key under which a connection is found; null rejects it.
   *
   * @default the common name of `ctx.peer`, so that a connection needs a verified certificate
   */
  readonly key?: (ctx: Needs) => string | null
  /**
   * Which of two connections of one key stays: `'newest'` closes the older one, `'oldest'` rejects
   * the new one. `'all'` admits up to `max`: a limit of connections by identity over all instances.
   *
   * @default 'newest'
   */
  readonly duplicates?: 'newest' | 'oldest' | 'all'
  /**
   * Connections of one key at once, with `'all'`. A new connection asks the broker for one slot
   * after the other, so a small number is fast.
   *
   * @default 10
   */
  readonly max?: number
  /**
   * Milliseconds for the previous connection to finish. The new one waits that long.
   *
   * @default 1_000
   */
  readonly handoverTimeout?: number
  /**
   * Rate of takeovers of one key on this instance. Beyond it, new connections wait, and Cio emits
   * `conflict`: probably two devices have the same certificate. A `count` of `Infinity` sets no
   * bound. Only with `'newest'`.
   *
   * @default { count: 6, per: 60_000 }
   */
  readonly takeovers?: Rate
  /**
   * What happens to a new connection without a broker: `'admit'` admits it and claims its key
   * later, `'refuse'` rejects it, `'wait'` lets it wait.
   *
   * @default 'admit'
   */
  readonly whenDown?: 'admit' | 'refuse' | 'wait'
  /**
   * Returns the data that `find`, `list` and `watch` show of a connection: at most 1 KiB of JSON.
   *
   * @default nothing
   */
  readonly about?: (ctx: Needs) => unknown
  /**
   * Maximum bytes that wait for one connection. A `send()` above it rejects, and Cio closes the
   * connection, so that unread messages do not fill the memory. `Infinity` sets no bound.
   *
   * @default 1_048_576
   */
  readonly maxBacklog?: number
  /**
   * The name of this registry, the same on all instances. Two registries on one cluster need
   * different names.
   *
   * @default 'devices'
   */
  readonly name?: string
  /**
   * Milliseconds after which the broker forgets a connection that its instance does not confirm. An
   * instance confirms each after a third of that time.
   *
   * @default 10_800_000
   */
  readonly rowTtl?: number
}

const mostSlots = 1_000

const known = [
  'key',
  'duplicates',
  'max',
  'handoverTimeout',
  'takeovers',
  'whenDown',
  'about',
  'maxBacklog',
  'name',
  'rowTtl',
]

/**
 * Checks the options of a call, a message or an `evict` to another instance.
 *
 * @param others The options beside those of {@link ReachOptions}.
 * @throws `ERR_CIO_OPTION`
 */
export function checkReachOptions(
  owner: string,
  options: ReachOptions,
  others: readonly string[] = [],
): void {
  checkOptionNames(owner, options, ['timeout', 'signal', ...others])
  const { timeout = 0, signal } = options
  checkDuration(owner, 'timeout', timeout)
  checkSignal(owner, signal)
}

/** The options, with their defaults. */
export type Settings<Needs extends StreamContext> = RegistryOptions<Needs> &
  Required<Omit<RegistryOptions, 'key' | 'about'>>

/**
 * Checks the options.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkRegistryOptions<Needs extends StreamContext>(
  options: RegistryOptions<Needs>,
): Settings<Needs> {
  checkOptionNames('registry', options, known)
  const { duplicates = 'newest', handoverTimeout = 1_000, whenDown = 'admit' } = options
  const { takeovers = { count: 6, per: 60_000 }, name = 'devices', rowTtl = 10_800_000 } = options
  if (!['newest', 'oldest', 'all'].includes(duplicates)) {
    throw optionError('registry', 'duplicates', "'newest', 'oldest' or 'all'", duplicates)
  }
  const { max = 10, maxBacklog = 1_048_576 } = options
  checkCount('registry', 'max', max, 1)
  checkCount('registry', 'maxBacklog', maxBacklog)
  if (max > mostSlots) throw optionError('registry', 'max', `at most ${mostSlots}`, max)
  if (options.max !== undefined && duplicates !== 'all') {
    throw optionError('registry', 'max', "absent unless `duplicates` is 'all'", max)
  }
  if (options.takeovers !== undefined && duplicates !== 'newest') {
    throw optionError('registry', 'takeovers', "absent unless `duplicates` is 'newest'", takeovers)
  }
  if (!['admit', 'refuse', 'wait'].includes(whenDown)) {
    throw optionError('registry', 'whenDown', "'admit', 'refuse' or 'wait'", whenDown)
  }
  checkDuration('registry', 'handoverTimeout', handoverTimeout)
  if (handoverTimeout === Infinity) {
    throw optionError('registry', 'handoverTimeout', 'finite', handoverTimeout)
  }
  checkRate('registry', 'takeovers', takeovers)
  checkDuration('registry', 'rowTtl', rowTtl)
  if (rowTtl < leastTtl || rowTtl === Infinity) {
    throw optionError('registry', 'rowTtl', `at least ${leastTtl} ms, and finite`, rowTtl)
  }
  for (const name of ['key', 'about'] as const) {
    const given: unknown = options[name]
    if (given !== undefined && typeof given !== 'function') {
      throw optionError('registry', name, 'a function', given)
    }
  }
  const settings = {
    duplicates,
    max,
    handoverTimeout,
    takeovers,
    whenDown,
    maxBacklog,
    name,
    rowTtl,
  }
  return { ...options, ...settings }
}

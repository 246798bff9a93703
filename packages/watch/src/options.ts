/** The options of `watch`. */

import type { Limit, Log, Peer, StreamContext } from 'cio'
import { checkCount, checkOptionNames, optionError } from 'cio/kit'

/** Options of `watch`. */
export interface WatchOptions {
  /**
   * Whether to measure the own time of each middleware.
   *
   * @default true
   */
  readonly steps?: boolean
  /**
   * Connections to remember after their end, for each reason. 0 remembers none.
   *
   * @default 100
   */
  readonly closed?: number
  /**
   * Groups of refusals to remember: by step, reason and peer.
   *
   * @default 200
   */
  readonly refused?: number
  /**
   * Number of peers with their own series in `cio.peer.io`; all others share one. 0 means none.
   * With it, the watch looks at each open connection once a second.
   *
   * @default 0
   */
  readonly top?: number
  /**
   * Returns the name of a peer. Called only for verified identities.
   *
   * @default the common name
   */
  readonly peer?: (peer: Peer, ctx: StreamContext) => string | undefined
  /**
   * The part of an address to keep: all, its /24 or /64, or nothing. A metric never contains an
   * address.
   *
   * @default 'full'
   */
  readonly address?: 'full' | 'network' | 'none'
  /**
   * Maximum series of one metric. Further series count in one series with the attribute
   * `otel.metric.overflow`.
   *
   * @default 2_000
   */
  readonly maxSeries?: number
  /**
   * Whether to measure how busy the event loop is: a timer of 500 ms, and two more metrics.
   *
   * @default false
   */
  readonly runtime?: boolean
  /**
   * The `limit` of the app, for `cio.limit.usage` and `cio.limit.limit`. Without it, there are none.
   */
  readonly limit?: Limit
  /**
   * The `log` of the app, for `cio.log.suppressed` and `cio.log.dropped`. Without it, there are none.
   */
  readonly log?: Log
}

export type CheckedOptions = Required<Omit<WatchOptions, 'limit' | 'log'>> &
  Pick<WatchOptions, 'limit' | 'log'>

const names = [
  'steps',
  'closed',
  'refused',
  'top',
  'peer',
  'address',
  'maxSeries',
  'runtime',
  'limit',
  'log',
] as const

/** Checks the options, and fills in the defaults. */
export function checkedOptions(options: WatchOptions): CheckedOptions {
  checkOptionNames('watch', options, names)
  const checked: CheckedOptions = {
    steps: true,
    closed: 100,
    refused: 200,
    top: 0,
    peer: ({ name }) => name ?? undefined,
    address: 'full',
    maxSeries: 2_000,
    runtime: false,
    ...options,
  }
  const least = { closed: 0, refused: 1, top: 0, maxSeries: 2 }
  for (const name of ['closed', 'refused', 'top', 'maxSeries'] as const) {
    checkCount('watch', name, checked[name], least[name])
    if (checked[name] === Infinity) throw optionError('watch', name, 'finite', Infinity)
  }
  for (const name of ['steps', 'runtime'] as const) {
    if (typeof checked[name] !== 'boolean')
      throw optionError('watch', name, 'true or false', checked[name])
  }
  if (typeof checked.peer !== 'function') {
    throw optionError('watch', 'peer', 'a function', checked.peer)
  }
  if (!['full', 'network', 'none'].includes(checked.address)) {
    throw optionError('watch', 'address', "'full', 'network' or 'none'", checked.address)
  }
  if (checked.limit !== undefined && typeof checked.limit?.bounds !== 'object') {
    throw optionError('watch', 'limit', 'a middleware that `limit()` has made', checked.limit)
  }
  if (checked.log !== undefined && typeof checked.log?.counts !== 'object') {
    throw optionError('watch', 'log', 'a middleware that `log()` has made', checked.log)
  }
  return checked
}

/** Reports of a pool about its targets: events, and lines of debug. */

import debug from 'debug'
import type { EventEmitter } from 'node:events'
import type { PoolEvents, PoolTargetState } from './pool-types.ts'
import type { Upstream } from './upstream.ts'
import { stateOf } from './upstreams.ts'

const log = debug('cio:pool')

/**
 * The events of one pool. Emitted in a later turn, so that a listener that throws does not fail a
 * use.
 */
export class PoolReports<Client> {
  readonly #pool: EventEmitter<PoolEvents>

  constructor(pool: EventEmitter<PoolEvents>) {
    this.#pool = pool
  }

  readonly ejected = (upstream: Upstream<Client>, duration: number, error: Error): void => {
    const state = stateOf(upstream)
    log('ejects %s for %d ms: %s', state.place, duration, error.message)
    process.nextTick(() => this.#pool.emit('eject', state, duration, error))
  }

  readonly restored = (upstream: Upstream<Client>): void => {
    const state = stateOf(upstream)
    log('restores %s', state.place)
    process.nextTick(() => this.#pool.emit('restore', state))
  }

  readonly changed = (targets: readonly PoolTargetState[]): void => {
    log(
      'has the targets %o',
      targets.map(({ place }) => place),
    )
    process.nextTick(() => this.#pool.emit('targets', targets))
  }

  readonly failed = (error: Error): void => {
    log('its source of targets failed: %s', error.message)
    process.nextTick(() => this.#pool.emit('resolveError', error))
  }
}

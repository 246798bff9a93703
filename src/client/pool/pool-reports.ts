/** Reports of a pool about its targets: events, and lines of debug. */

import { type EventEmitter, captureRejectionSymbol } from 'node:events'
import { debug } from '../../debug.ts'
import { asError, isCioError } from '../../errors.ts'
import { reportError } from '../../lifecycle/app-events.ts'
import type { App } from '../../lifecycle/app.ts'
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
  readonly #app: App

  constructor(pool: EventEmitter<PoolEvents>, app: App) {
    this.#pool = pool
    this.#app = app
    const failed = (thrown: unknown): void => reportError(app, asError(thrown))
    Object.defineProperty(pool, captureRejectionSymbol, { value: failed })
  }

  /** If nothing awaits a use, the loss of its target must not end the process. */
  readonly untaken = (error: Error): void => {
    const isGone =
      isCioError(error) && (error.fault === 'remote' || error.code === 'ERR_CIO_CLOSED')
    if (!isGone) reportError(this.#app, error)
  }

  readonly ejected = (upstream: Upstream<Client>, duration: number, error: Error): void => {
    const state = stateOf(upstream)
    log('ejects %s for %d ms: %s', state.place, duration, error.message)
    this.#emit('eject', state, duration, error)
  }

  readonly restored = (upstream: Upstream<Client>): void => {
    const state = stateOf(upstream)
    log('restores %s', state.place)
    this.#emit('restore', state)
  }

  readonly changed = (targets: readonly PoolTargetState[]): void => {
    log(
      'has the targets %O',
      targets.map(({ place }) => place),
    )
    this.#emit('targets', targets)
  }

  readonly failed = (error: Error): void => {
    log('its source of targets failed: %s', error.message)
    this.#emit('resolveError', error)
  }

  #emit<Event extends keyof PoolEvents>(event: Event, ...details: PoolEvents[Event]): void {
    process.nextTick(() => {
      try {
        ;(this.#pool.emit as (event: string, ...details: unknown[]) => boolean).call(
          this.#pool,
          event,
          ...details,
        )
      } catch (thrown) {
        reportError(this.#app, asError(thrown))
      }
    })
  }
}

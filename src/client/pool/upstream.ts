/** One target of a pool: its connections, and whether it is ejected. */

import type { ClientContext } from '../client.ts'
import type { ConnectTarget } from '../connect-options.ts'
import type { Backoff } from '../../rates/backoff.ts'
import { newAbort } from '../../streams/lazy-abort.ts'
import type { Clock } from './clock.ts'
import { Member } from './member.ts'

/**
 * `probing`: the time of its ejection is over, and the next use decides whether it is used again.
 */
export type UpstreamState = 'ready' | 'ejected' | 'probing'

/** The ejection of targets that fail; see `PoolOptions`. */
export interface Ejection {
  readonly failures: number
  readonly duration: number
  readonly maxDuration: number
  readonly maxShare: number
}

/** The part of a pool that a target uses. */
export interface UpstreamHost<Client> {
  readonly clock: Clock
  readonly backoff: Backoff
  readonly ejection: Ejection
  readonly slowStartDuration: number
  connect(target: ConnectTarget, signal: AbortSignal): Promise<ClientContext & Client>
  mayEject(): boolean
  /** An attempt or a use has failed. */
  failed(): void
  /** Which connections may be used has changed. */
  changed(): void
  ejected(upstream: Upstream<Client>, duration: number, error: Error): void
  restored(upstream: Upstream<Client>): void
}

/**
 * Milliseconds that a probe waits for an idempotent use. After that, a connection alone decides.
 */
const probeDelay = 1_000
/** The smallest share of its weight that a target has during its slow start. */
const leastShare = 0.1

/** One target. */
export class Upstream<Client> {
  readonly target: ConnectTarget
  readonly members: readonly Member<Client>[]
  state: UpstreamState = 'ready'
  /** Changes with the state, so that a use that began earlier does not count for the new state. */
  epoch = 0
  /** Whether a use that decides about a probing target is under way. */
  isProbed = false
  lastError: Error | undefined
  /** Targets with a lower number are used first. */
  priority = 0
  readonly #host: UpstreamHost<Client>
  #weight: number
  #hasLeft = false
  #failures = 0
  #ejections = 0
  #since: number
  #isWarm = false
  #stop = (): void => {}

  constructor(
    target: ConnectTarget,
    weight: number,
    connections: number,
    host: UpstreamHost<Client>,
  ) {
    this.target = target
    this.#weight = weight
    this.#host = host
    this.#since = host.clock.now()
    this.members = Array.from({ length: connections }, () => new Member(this, host))
  }

  /** Its current weight, which grows during the slow start. */
  get weight(): number {
    const { slowStartDuration, clock } = this.#host
    if (this.#isWarm || slowStartDuration === 0) return this.#weight
    const share = (clock.now() - this.#since) / slowStartDuration
    this.#isWarm = share >= 1
    return this.#weight * Math.min(1, Math.max(leastShare, share))
  }

  /** Its weight when the slow start is over. */
  set weight(weight: number) {
    this.#weight = weight
  }

  get pending(): number {
    return this.members.reduce((sum, { pending }) => sum + pending, 0)
  }

  get connections(): number {
    return this.members.filter(({ client }) => client?.connected).length
  }

  open(): void {
    for (const member of this.members) member.open()
  }

  leave(): void {
    this.#hasLeft = true
    this.#stop()
    for (const member of this.members) member.leave()
  }

  connected(): void {
    this.lastError = undefined
  }

  succeeded(): void {
    this.#failures = 0
    if (this.state === 'probing' && !this.#hasLeft) this.#restore()
  }

  failed(error: Error): void {
    if (this.#hasLeft) return
    this.lastError = error
    this.#failures += 1
    const { ejection } = this.#host
    if (this.state === 'probing') this.#eject(error)
    else if (
      this.state === 'ready' &&
      this.#failures >= ejection.failures &&
      this.#host.mayEject()
    ) {
      this.#eject(error)
    }
    this.#host.failed()
  }

  #eject(error: Error): void {
    const { clock, ejection } = this.#host
    // After a long time without an ejection, the next ejection has the base duration again.
    if (this.state === 'ready' && clock.now() - this.#since > ejection.maxDuration) {
      this.#ejections = 0
    }
    const whole = Math.min(ejection.duration * 2 ** this.#ejections, ejection.maxDuration)
    this.#ejections += 1
    const duration = whole * (1 - clock.random() / 4)
    this.#enter('ejected')
    this.#stop = clock.after(duration, () => this.#probe())
    this.#host.changed()
    this.#host.ejected(this, duration, error)
  }

  #probe(): void {
    this.#enter('probing')
    this.probeAgain()
    this.#host.changed()
  }

  /**
   * Lets another use decide, because the last one showed neither a failure nor a success of the
   * target.
   */
  probeAgain(): void {
    if (this.#hasLeft) return
    this.#stop()
    this.isProbed = false
    this.#stop = this.#host.clock.after(probeDelay, () => this.#connectAlone())
  }

  #enter(state: UpstreamState): void {
    this.#stop()
    this.state = state
    this.epoch += 1
  }

  /** No idempotent use has come, so a connection attempt of the pool decides. */
  #connectAlone(): void {
    if (this.isProbed) return
    this.isProbed = true
    const aborter = newAbort()
    this.#stop = () => aborter.abort()
    this.#host.connect(this.target, aborter.signal).then(
      (client) => {
        void client.close()
        if (this.state === 'probing') this.#restore()
      },
      (error: Error) => {
        if (this.state === 'probing' && !aborter.signal.aborted) this.#eject(error)
      },
    )
  }

  #restore(): void {
    this.#enter('ready')
    this.#failures = 0
    this.#isWarm = false
    this.#since = this.#host.clock.now()
    this.#host.changed()
    this.#host.restored(this)
  }
}

/** What a peer may do, and the errors that end what it does beyond that. */

import { CioError } from '../../src/errors.ts'

/** So many in so long. */
export interface Rate {
  readonly count: number
  /** Milliseconds. */
  readonly per: number
}

/** The bounds of a multiplexed connection. */
export interface Bounds {
  readonly maxStreams: number
  readonly maxPending: number
  readonly maxHeadersSize: number
  readonly window: number
  readonly controlRate: Rate
  /** The peer, for messages. */
  readonly remote: string
}

/** Makes errors of what a peer does, and has a budget for what brings nothing. */
export class Rules {
  readonly #remote: string
  readonly #rate: Rate
  #left: number
  #at = performance.now()

  constructor({ remote, controlRate }: Bounds) {
    this.#remote = remote
    this.#rate = controlRate
    this.#left = controlRate.count
  }

  /**
   * Takes one from a budget that fills by `count` in `per`, and holds no more than that.
   *
   * @throws `ERR_CIO_FLOOD` (peer): nothing is left
   */
  spend(what: string): void {
    const { count, per } = this.#rate
    if (count === Infinity) return
    const now = performance.now()
    this.#left = Math.min(count, this.#left + ((now - this.#at) / per) * count)
    this.#at = now
    if (--this.#left < 0) throw this.flood(`floods us by ${what}`)
  }

  /** Too much has come. */
  flood(what: string): CioError {
    return new CioError('ERR_CIO_FLOOD', `${this.#remote} ${what}`, { fault: 'peer' })
  }

  /** What came is not the protocol. */
  wrong(what: string): CioError {
    return new CioError('ERR_CIO_MULTIPLEX', `${this.#remote} ${what}`, { fault: 'peer' })
  }

  /** The peer has ended a stream, of ours before it has taken it. */
  reset(isRefused: boolean): CioError {
    return isRefused
      ? new CioError('ERR_CIO_STREAM_REFUSED', `${this.#remote} has not taken a stream`, {
          fault: 'peer',
        })
      : new CioError('ERR_CIO_STREAM_RESET', `${this.#remote} has reset a stream`, {
          fault: 'peer',
        })
  }

  /** The connection is no more. */
  gone(cause: Error | null): CioError {
    const message = `the connection to ${this.#remote}, which the stream was in, is gone`
    return new CioError('ERR_CIO_CLOSED', message, { fault: 'peer', cause: cause ?? undefined })
  }
}

/** What a peer may do, and the errors that end what it does beyond that. */

import { CioError } from '../../src/errors.ts'
import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'

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
export class ProtocolErrors {
  readonly #remote: string
  readonly #budget: TokenBucket

  constructor({ remote, controlRate }: Bounds) {
    this.#remote = remote
    this.#budget = new TokenBucket(controlRate)
  }

  /**
   * Takes one from the budget.
   *
   * @throws `ERR_CIO_FLOOD` (remote): nothing is left
   */
  spend(what: string): void {
    if (!this.#budget.take()) throw this.flood(`floods us by ${what}`)
  }

  /** Too much has come. */
  flood(what: string): CioError {
    return new CioError('ERR_CIO_FLOOD', `${this.#remote} ${what}`, { fault: 'remote' })
  }

  /** What came is not the protocol. */
  wrong(what: string): CioError {
    return new CioError('ERR_CIO_MULTIPLEX', `${this.#remote} ${what}`, { fault: 'remote' })
  }

  /** The peer has ended a stream, of ours before it has taken it. */
  reset(isRefused: boolean): CioError {
    return isRefused
      ? new CioError('ERR_CIO_STREAM_REFUSED', `${this.#remote} has not taken a stream`, {
          fault: 'remote',
        })
      : new CioError('ERR_CIO_STREAM_RESET', `${this.#remote} has reset a stream`, {
          fault: 'remote',
        })
  }

  /** The connection is no more. */
  gone(cause: Error | null): CioError {
    const message = `the connection to ${this.#remote}, which the stream was in, is gone`
    return new CioError('ERR_CIO_CLOSED', message, { fault: 'remote', cause: cause ?? undefined })
  }
}

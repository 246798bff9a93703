/** Errors for protocol violations of a peer, and its budget of control frames. */

import { CioError, quote } from '../../src/errors.ts'
import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'
import { type Header, headerText } from './wire.ts'

/** The limits of a multiplexed connection. */
export interface Bounds {
  readonly maxStreams: number
  readonly maxPending: number
  readonly maxHeadersSize: number
  readonly window: number
  readonly controlRate: Rate
  /** The peer's address, for messages. */
  readonly remote: string
}

/** Creates errors for a peer's violations, and limits its unproductive frames. */
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
   * @throws `ERR_CIO_FLOOD` (remote): the budget is used up
   */
  spend(what: string): void {
    if (!this.#budget.take()) throw this.flood(`floods us by ${what}`)
  }

  /** The peer exceeded a limit. */
  flood(what: string): CioError {
    return new CioError('ERR_CIO_FLOOD', `${this.#remote} ${what}`, { fault: 'remote' })
  }

  /** The input violates the protocol. */
  wrong(what: string): CioError {
    return new CioError('ERR_CIO_MULTIPLEX', `${this.#remote} ${what}`, { fault: 'remote' })
  }

  /** The input is no frame: often the peer speaks another protocol, which the first bytes show. */
  noFrame(header: Header): CioError {
    const shown = quote(headerText(header))
    const { type, id } = header
    return this.wrong(`sent a frame of type ${type} for stream ${id} (it begins with ${shown})`)
  }

  /** The peer reset a stream, or refused a stream of ours before accepting it. */
  reset(isRefused: boolean): CioError {
    return isRefused
      ? new CioError('ERR_CIO_STREAM_REFUSED', `${this.#remote} has not taken a stream`, {
          fault: 'remote',
        })
      : new CioError('ERR_CIO_STREAM_RESET', `${this.#remote} has reset a stream`, {
          fault: 'remote',
        })
  }
}

/** Names and addresses of peers, as far as the options keep them. */

import type { ConnectionContext, StreamContext } from 'cio'
import { asError, atOnce, keepRemote, networkOf, reportError } from 'cio/kit'
import type { CheckedOptions } from '../options.ts'
import { clean } from '../text.ts'

export class Identities {
  readonly #options: Pick<CheckedOptions, 'peer' | 'address'>
  #hasFailed = false

  constructor(options: Pick<CheckedOptions, 'peer' | 'address'>) {
    this.#options = options
  }

  /** The name of a verified peer by the option `peer`. */
  nameOf(ctx: StreamContext): string | undefined {
    const { peer } = ctx
    if (!peer) return undefined
    try {
      const name = atOnce('watch', 'peer', this.#options.peer(peer, ctx))
      // This is the name for all others together.
      return name === undefined || name === '_OTHER' ? undefined : clean(name)
    } catch (thrown) {
      // Reported once: it is called for each connection, and again with each look.
      if (!this.#hasFailed) reportError(ctx.app, asError(thrown), ctx)
      this.#hasFailed = true
      return undefined
    }
  }

  /** An address, as far as the options keep it. */
  addressOf(ctx: StreamContext): string | null {
    const { address: kept } = this.#options
    if (kept === 'none') return null
    const { address } = ctx
    if (address === null) return null
    return kept === 'network' ? networkOf(address) : address
  }

  /** At the end it is too late to read an address. */
  keepAddress(ctx: ConnectionContext): void {
    if (this.#options.address !== 'none') keepRemote(ctx)
  }
}

/** Letters that another release, or another program, has written. */

import { CioError } from 'cio'

const mostRemembered = 1_000

/** The letters that were reported, so that each is reported once and not with each connection. */
export class Unread {
  readonly #reported = new Set<number>()

  isNew(seq: number): boolean {
    if (this.#reported.has(seq)) return false
    if (this.#reported.size >= mostRemembered) this.#reported.clear()
    this.#reported.add(seq)
    return true
  }
}

export function unreadError(subject: string, seq: number, cause: unknown): CioError {
  const message = `letter ${seq} of \`${subject}\` cannot be read: another release, or another program, has written it; it stays until \`maxAge\`, unless you remove it from the broker`
  return new CioError('ERR_CIO_UNSUPPORTED', message, { cause })
}

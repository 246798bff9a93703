/** Tracks which middleware reads the messages of a connection: one at a time. */

import { CioError } from '../errors.ts'

export class Readers {
  readonly #isAwaited: () => boolean
  /** The last reader, for errors. */
  #reader = ''
  #isHeld = false

  /** @param isAwaited Whether a reader waits for a message. */
  constructor(isAwaited: () => boolean) {
    this.#isAwaited = isAwaited
  }

  /**
   * Registers a reader.
   *
   * @throws `ERR_CIO_TWO_READERS` (local): another reader waits, or reads all messages
   */
  claim(reader: string): void {
    const other = this.#reader
    if (!this.#isHeld && (other === reader || !this.#isAwaited())) {
      this.#reader = reader
      return
    }
    throw new CioError(
      'ERR_CIO_TWO_READERS',
      `\`${reader}\` reads ctx.messages while \`${other}\` does, and each message would go to one of them only; let one of the two read`,
    )
  }

  /** Runs an exclusive reader of all messages. */
  async hold(reader: string, read: () => Promise<void>): Promise<void> {
    this.claim(reader)
    this.#isHeld = true
    try {
      await read()
    } finally {
      this.#isHeld = false
    }
  }
}

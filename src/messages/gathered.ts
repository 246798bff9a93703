/** The strings of one turn of the event loop, for one write. */

import type { Duplex } from 'node:stream'

/**
 * The strings that were sent on a stream in one turn of the event loop, for one write.
 *
 * With Node's own `cork()`, each string costs an object and a queue entry. There is one batch for
 * each stream, for all codecs that write to it.
 */
export class Gathered {
  static readonly #byStream = new WeakMap<Duplex, Gathered>()
  text = ''
  readonly #stream: Duplex
  readonly #write: Duplex['write']

  /** The batch of a stream. */
  static of(stream: Duplex): Gathered {
    let gathered = Gathered.#byStream.get(stream)
    if (!gathered) Gathered.#byStream.set(stream, (gathered = new Gathered(stream)))
    return gathered
  }

  private constructor(stream: Duplex) {
    this.#stream = stream
    this.#write = stream.write.bind(stream)
    const end = stream.end.bind(stream) as (...given: unknown[]) => Duplex
    // Other writes to the stream in this turn, or its end, come after the batch.
    Object.assign(stream, {
      write: (...given: Parameters<Duplex['write']>) => {
        this.flush()
        return this.#write(...given)
      },
      end: (...given: unknown[]) => {
        this.flush()
        return end(...given)
      },
    })
  }

  flush(): void {
    if (this.text === '') return
    const { text } = this
    this.text = ''
    // It was destroyed in this turn.
    if (this.#stream.writable) this.#write(text)
  }
}

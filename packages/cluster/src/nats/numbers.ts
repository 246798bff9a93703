/** The numbers of rows and letters. */

import type { StreamInfo } from '@nats-io/jetstream'

/**
 * Numbers that go on rising when a stream is made again, after the broker has lost its store. Those of
 * JetStream then begin at 1: so the time at which the stream was made is added, in microseconds.
 */
export class Numbers {
  #base = 0

  /** The stream, as the broker has it now. */
  begin({ created }: StreamInfo): void {
    this.#base = Date.parse(created) * 1_000
  }

  of(seq: number): number {
    return this.#base + seq
  }

  /** The number within the stream; below 0: it is of a stream of before. */
  within(number: number): number {
    return number - this.#base
  }
}

import { write, writeSync } from 'node:fs'
import type { Writable } from 'node:stream'

/** Milliseconds until the next attempt to write to a full pipe. */
const retryDelay = 20
const standardOutput = 1

/**
 * Writes lines without blocking the event loop: `process.stdout` blocks if it is a pipe with a slow
 * reader. It drops and counts lines above the bound, and reports them once there is room.
 */
export class LineWriter {
  readonly #stream: Writable | undefined
  readonly #maxBuffer: number
  readonly #report: (dropped: number) => string
  readonly #failed: (error: Error) => void
  #waiting = ''
  #writing: Buffer | undefined
  #dropped = 0
  /** The number of dropped lines so far. */
  allDropped = 0
  #isScheduled = false
  /** Whether the last write to standard output failed. */
  #isFailing = false

  /**
   * @param stream Where to write; standard output without one.
   * @param failed Called when the stream fails, and when standard output begins to fail.
   */
  constructor(
    stream: Writable | undefined,
    maxBuffer: number,
    report: (dropped: number) => string,
    failed: (error: Error) => void,
  ) {
    this.#stream = stream
    this.#maxBuffer = maxBuffer
    this.#report = report
    this.#failed = failed
    // Without a listener, a full disk would end the process.
    stream?.on('error', failed)
  }

  /** @param line With its line feed */
  write(line: string): void {
    if (this.#size > this.#maxBuffer || this.#isOver) return this.#drop(1)
    if (this.#dropped > 0) {
      this.#waiting += this.#report(this.#dropped)
      this.#dropped = 0
    }
    this.#waiting += line
    if (this.#isScheduled || this.#writing) return
    this.#isScheduled = true
    // Lines of one turn of the event loop are one write.
    setImmediate(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  /** Writes the remaining lines at the end of the process, as far as that is possible at once. */
  flushSync(): void {
    if (this.#stream) return this.flush()
    let rest = Buffer.concat([this.#writing ?? Buffer.alloc(0), this.#take()])
    this.#writing = undefined
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(standardOutput, rest))
    } catch {
      // The pipe is full or closed.
    }
  }

  #drop(lines: number): void {
    this.#dropped += lines
    this.allDropped += lines
  }

  /** Whether the stream takes no more: Node destroys the stream of a file at its first error. */
  get #isOver(): boolean {
    return this.#stream !== undefined && (this.#stream.destroyed || this.#stream.writableEnded)
  }

  get #size(): number {
    const inStream = this.#stream?.writableLength ?? this.#writing?.length ?? 0
    return inStream + this.#waiting.length
  }

  #take(): Buffer {
    const bytes = Buffer.from(this.#waiting)
    this.#waiting = ''
    return bytes
  }

  /** Begins to write the waiting lines; never blocks. */
  flush(): void {
    if (this.#waiting === '') return
    if (this.#stream) {
      const bytes = this.#take()
      if (this.#isOver) this.#drop(linesIn(bytes))
      else this.#stream.write(bytes)
    } else if (!this.#writing) {
      this.#writing = this.#take()
      this.#writeOut()
    }
  }

  #writeOut(): void {
    const bytes = this.#writing!
    write(standardOutput, bytes, (error, written) => {
      // `flushSync` has written them meanwhile.
      if (this.#writing !== bytes) return
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#writing === bytes && this.#writeOut(), retryDelay).unref()
        return
      }
      if (error) this.#lose(bytes, error)
      else this.#isFailing = false
      const rest = error ? bytes.subarray(bytes.length) : bytes.subarray(written)
      this.#writing = rest.length > 0 ? rest : undefined
      if (this.#writing) this.#writeOut()
      else this.flush()
    })
  }

  /** Standard output may take the next lines again, for example once a disk has room. */
  #lose(bytes: Buffer, error: Error): void {
    this.#drop(linesIn(bytes))
    if (!this.#isFailing) this.#failed(error)
    this.#isFailing = true
  }
}

function linesIn(bytes: Buffer): number {
  return bytes.toString().split('\n').length - 1
}

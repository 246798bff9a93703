/**
 * Watches files for changes.
 *
 * It polls the state of the files instead of using `fs.watch`. `fs.watch` watches the inode. After
 * another file was renamed into place, it misses later changes. It also misses a changed link to
 * the file or to its directory, which is how Kubernetes replaces files. Polling works however a
 * file is replaced and on any file system, and costs a few microseconds.
 */

import { stat } from 'node:fs/promises'
import { pathsOf } from '../../src/tls/certificates/source.ts'

/**
 * Applies the change, and resolves to whether it succeeded. `quietly` is true if the same state has
 * failed and was reported before.
 */
type ApplyChange = (quietly: boolean) => Promise<boolean>

export class FileWatch {
  readonly #paths: readonly string[]
  readonly #interval: number
  /**
   * The last states: the applied one, the tried one, and the seen one.
   */
  #applied = ''
  #tried = ''
  #seen = ''
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  /** @param sources The options of `certs` that contain the files. */
  constructor(sources: readonly object[], interval: number) {
    this.#paths = sources.flatMap(pathsOf)
    this.#interval = interval
  }

  /** Call this before the files are read, so that a change in between is detected. */
  async look(): Promise<void> {
    this.#applied = this.#tried = this.#seen = await this.#state()
  }

  start(apply: ApplyChange): void {
    if (this.#stopped || this.#paths.length === 0) return
    this.#timer = setTimeout(() => void this.#poll(apply), this.#interval)
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #poll(apply: ApplyChange): Promise<void> {
    const state = await this.#state()
    // A key and its certificate change one after the other, and a file may be written in pieces. So
    // wait until all of them have stayed the same for an interval.
    const settled = state === this.#seen
    this.#seen = state
    if (settled && state !== this.#applied && !this.#stopped) {
      const quietly = state === this.#tried
      this.#tried = state
      // Retry a failed state too, because the cause may lie outside the files.
      if (await apply(quietly)) this.#applied = state
    }
    this.start(apply)
  }

  async #state(): Promise<string> {
    const states = this.#paths.map(async (path) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
        return [dev, ino, size, mtimeNs, ctimeNs].join()
      } catch (error) {
        return (error as NodeJS.ErrnoException).code
      }
    })
    return (await Promise.all(states)).join(';')
  }
}

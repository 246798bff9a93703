/**
 * Looks whether files have changed.
 *
 * By asking for their state again and again, not by `fs.watch`: that holds on to the file that was
 * there, and hears nothing more once another has been renamed into its place, or the link to it or
 * to its directory points elsewhere, as Kubernetes does it. A state is the same whichever way a file
 * was replaced, on any file system, and costs a few microseconds.
 */

import { stat } from 'node:fs/promises'
import { pathsOf } from '../../src/tls/certificates/source.ts'

/** Whether it could be taken up; told not to complain of the same state twice. */
type TakeUp = (quietly: boolean) => Promise<boolean>

export class FileWatch {
  readonly #paths: readonly string[]
  readonly #interval: number
  /** The state that was taken up, the one that was tried last, and the one that was seen last. */
  #taken = ''
  #tried = ''
  #seen = ''
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  /** @param sources What has the files, as `certs` takes it. */
  constructor(sources: readonly object[], interval: number) {
    this.#paths = sources.flatMap(pathsOf)
    this.#interval = interval
  }

  /** Before they are read: a change in the meantime counts. */
  async look(): Promise<void> {
    this.#taken = this.#tried = this.#seen = await this.#state()
  }

  start(takeUp: TakeUp): void {
    if (this.#stopped || this.#paths.length === 0) return
    this.#timer = setTimeout(() => void this.#poll(takeUp), this.#interval)
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #poll(takeUp: TakeUp): Promise<void> {
    const state = await this.#state()
    // A key and its certificate come one after the other, and a file in pieces: only once all of
    // them have stood still for an interval.
    const settled = state === this.#seen
    this.#seen = state
    if (settled && state !== this.#taken && !this.#stopped) {
      const quietly = state === this.#tried
      this.#tried = state
      // What fails is tried again, since not every reason is in the files.
      if (await takeUp(quietly)) this.#taken = state
    }
    this.start(takeUp)
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

/** Pings without a reply yet. */

import { CioError } from '../../src/errors.ts'
import { handled } from '../../src/lifecycle/unawaited.ts'
import { largest } from './wire.ts'

/** Sends pings, and measures the time until the reply. */
export class Pings {
  readonly #waiting = new Map<number, (answer: number | CioError) => void>()
  readonly #send: (id: number) => void
  readonly #remote: string
  #next = 0
  #lost: CioError | undefined
  #shared: Promise<void> | undefined

  constructor(remote: string, send: (id: number) => void) {
    this.#remote = remote
    this.#send = send
  }

  /** Round-trip time in milliseconds. */
  ping(timeout: number): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      const id = this.#next
      this.#next = id === largest ? 0 : id + 1
      const begun = performance.now()
      const expire = (): void => {
        const message = `${this.#remote} did not answer a ping within ${timeout} ms`
        settle(new CioError('ERR_CIO_PING_TIMEOUT', message, { fault: 'remote' }))
      }
      const timer = timeout === Infinity ? undefined : setTimeout(expire, timeout)
      const settle = (answer: number | CioError): void => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        if (typeof answer === 'number') resolve(answer - begun)
        else reject(answer)
      }
      this.#waiting.set(id, settle)
      this.#send(id)
    })
  }

  /** Fulfils with the reply. Streams share one ping, since it tells the same to all of them. */
  share(): Promise<void> {
    this.#shared ??= handled(this.ping(Infinity).then(() => (this.#shared = undefined)))
    return this.#shared
  }

  /** A reply has arrived. A reply that no ping waits for is ignored. */
  answer(id: number): void {
    this.#waiting.get(id)?.(performance.now())
  }

  /** The connection is closed: rejects all pings. */
  lose(error: CioError): void {
    this.#lost = error
    for (const settle of this.#waiting.values()) settle(error)
  }
}

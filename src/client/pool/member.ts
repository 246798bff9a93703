/** One connection of a target: it connects again until it leaves the pool. */

import type { ClientContext } from '../client.ts'
import { isCioError } from '../../errors.ts'
import { newAbort } from '../../streams/lazy-abort.ts'
import type { Candidate } from './balance.ts'
import type { Upstream, UpstreamHost } from './upstream.ts'

/**
 * Milliseconds that a connection must last; if it is lost after that, the backoff begins again at
 * its base delay.
 */
const stableAfter = 5_000

/** Returns a function that says whether anything was sent on a connection since this call. */
export function sentSince({ socket }: Pick<ClientContext, 'socket'>): () => boolean {
  const before = socket?.bytesWritten
  // Without a socket, Cio does not know.
  return () => socket === null || socket?.bytesWritten !== before
}

/** One connection of a target, or its place while there is none. */
export class Member<Client> implements Candidate {
  client: (ClientContext & Client) | undefined
  pending = 0
  readonly upstream: Upstream<Client>
  readonly #host: UpstreamHost<Client>
  #retry = 1
  #since = 0
  #stop = (): void => {}
  #aborter: AbortController | undefined
  #isOver = false

  constructor(upstream: Upstream<Client>, host: UpstreamHost<Client>) {
    this.upstream = upstream
    this.#host = host
  }

  get weight(): number {
    return this.upstream.weight
  }

  open(): void {
    const aborter = (this.#aborter = newAbort())
    this.#host.connect(this.upstream.target, aborter.signal).then(
      (client) => this.#opened(client),
      (error: Error) => this.#failed(error),
    )
  }

  /** Ends the connection: at once if no use is pending, otherwise when the last use has settled. */
  leave(): void {
    this.#isOver = true
    this.#stop()
    if (!this.client) this.#aborter?.abort()
    else if (this.pending === 0) void this.client.close()
  }

  /** Notes that a use has settled. */
  released(): void {
    this.pending -= 1
    if (this.#isOver && this.pending === 0) void this.client?.close()
  }

  #opened(client: ClientContext & Client): void {
    if (this.#isOver) return void client.close()
    this.client = client
    this.#since = this.#host.clock.now()
    this.upstream.connected()
    this.#host.changed()
    void client.closed.then(() => this.#lost(client))
  }

  #lost(client: ClientContext): void {
    this.client = undefined
    const error: unknown = client.signal.reason
    if (!this.#isOver) {
      if (this.#host.clock.now() - this.#since >= stableAfter) this.#retry = 1
      // A server that drains ends its connections without an error.
      if (error instanceof Error && !isCioError(error, 'ERR_CIO_CLOSED')) {
        this.upstream.failed(error)
      }
      this.#again()
    }
    this.#host.changed()
  }

  #failed(error: Error): void {
    if (this.#isOver) return
    this.upstream.failed(error)
    this.#again()
  }

  #again(): void {
    const delay = this.#host.backoff.delay(this.#retry++)
    this.#stop = this.#host.clock.after(delay, () => this.open())
  }
}

/** Server-sent events: the snapshot of each second, encoded once for all viewers. */

import { contextOf } from 'cio'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Watch } from '../watch.ts'

const mostStreams = 4
/** Maximum bytes that wait for a browser that does not read. */
const mostQueued = 1_000_000

export class EventStreams {
  readonly #watching: Watch
  readonly #streams = new Set<ServerResponse>()
  #stop: (() => void) | undefined

  constructor(watching: Watch) {
    this.#watching = watching
  }

  /** Opens a stream; false if there are too many. */
  open(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#streams.size >= mostStreams) return false
    response.setHeader('content-type', 'text/event-stream')
    response.setHeader('x-accel-buffering', 'no')
    response.write('retry: 1000\n\n')
    this.#streams.add(response)
    // An open stream would delay the end of the server.
    const draining = contextOf(request)?.draining
    const end = (): void => void response.end()
    draining?.addEventListener('abort', end)
    if (draining?.aborted) end()
    response.once('close', () => {
      draining?.removeEventListener('abort', end)
      this.#streams.delete(response)
      if (this.#streams.size > 0) return
      this.#stop?.()
      this.#stop = undefined
    })
    this.#stop ??= this.#watching.look(() => this.#send())
    response.write(this.#text())
    return true
  }

  #text(): string {
    const { time, ...columns } = this.#watching.history('seconds')
    const last = Object.entries(columns).map(([name, values]) => [name, values.at(-1) ?? null])
    const row = { time: time.at(-1) ?? null, ...Object.fromEntries(last) }
    return `data: ${JSON.stringify({ snapshot: this.#watching.snapshot(), row })}\n\n`
  }

  #send(): void {
    if (this.#streams.size === 0) return
    const text = this.#text()
    for (const stream of this.#streams) {
      if (stream.writableLength < mostQueued) stream.write(text)
    }
  }
}

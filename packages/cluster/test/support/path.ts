/** A path of TCP to a broker that a test can cut, delay, or hold so that nothing passes. */

import { once } from 'node:events'
import { type Server, type Socket, connect, createServer } from 'node:net'
import type { Teardown } from './nats-server.ts'

export class Path {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #isCut = false
  /** Milliseconds that everything takes, in each direction. */
  lag = 0

  static async open(t: Teardown, port: number): Promise<Path> {
    const path = new Path(port)
    await once(path.#server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => {
      path.#server.close()
      path.cut()
    })
    return path
  }

  private constructor(port: number) {
    this.#server = createServer((near) => {
      if (this.#isCut) {
        near.on('error', () => {}).destroy()
        return
      }
      const far = connect(port, '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from)
        from
          .on('error', () => {})
          .on('data', (chunk) => {
            if (this.lag === 0) to.write(chunk)
            else setTimeout(() => to.write(chunk), this.lag)
          })
        from.on('close', () => {
          this.#sockets.delete(from)
          to.destroy()
        })
      }
    })
  }

  get address(): string {
    const { port } = this.#server.address() as { port: number }
    return `127.0.0.1:${port}`
  }

  /** Ends what is open, and refuses what comes. */
  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  heal(): void {
    this.#isCut = false
  }

  hold(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  release(): void {
    for (const socket of this.#sockets) socket.resume()
  }
}

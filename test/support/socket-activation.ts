/** systemd's own way of passing a listening socket, and a parent that does the same. */

import type { ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type Server, type Socket, connect, createServer } from 'node:net'
import { type Line, Program } from './program.ts'

/** Whether Debian's `systemd` is installed. */
export const hasSocketActivate: boolean =
  spawnSync('systemd-socket-activate', ['--version']).status === 0

/**
 * The words before a command that start it by `systemd-socket-activate`, once a client connects to
 * one of these addresses.
 */
export function activate(
  addresses: readonly string[],
  more: readonly string[] = [],
): readonly string[] {
  const listen = addresses.flatMap((address) => ['-l', address])
  return ['env', 'SYSTEMD_LOG_LEVEL=warning', 'systemd-socket-activate', ...listen, ...more]
}

/** Connects as soon as something listens there. */
export async function connectOnce(t: ExecutionContext, to: number | string): Promise<Socket> {
  for (;;) {
    const socket = typeof to === 'number' ? connect(to, '127.0.0.1') : connect(to)
    t.teardown(() => socket.destroy())
    try {
      await once(socket, 'connect')
      socket.on('error', () => {})
      return socket
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** A parent that holds a listening socket, and starts and stops servers on it. */
export class Keeper {
  readonly port: number
  readonly #program: Program
  #started = 0
  #stopped = 0

  private constructor(program: Program, port: number) {
    this.#program = program
    this.port = port
  }

  /** A parent whose servers take this order. */
  static async open(t: ExecutionContext, order: object): Promise<Keeper> {
    const listening = createServer()
    listening.listen(0, '127.0.0.1')
    await once(listening, 'listening')
    const address = listening.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const program = new Program(t, 'socket-keeper.ts', order, [], [descriptorOf(listening)])
    // The keeper has it now; this process would accept connections from it.
    listening.close()
    await program.until('ready')
    return new Keeper(program, port)
  }

  start(): Promise<Line> {
    this.#program.child.stdin!.write('start\n')
    return this.#program.until('started', ++this.#started)
  }

  /** Stops the oldest server by SIGTERM; fulfils when it has ended. */
  stop(): Promise<Line> {
    this.#program.child.stdin!.write('stop\n')
    return this.#program.until('stopped', ++this.#stopped)
  }
}

/** Node has no public name for it. */
export function descriptorOf(server: Server): number {
  return (server as unknown as { readonly _handle: { readonly fd: number } })._handle.fd
}

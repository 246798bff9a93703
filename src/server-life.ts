/** The life of a server, and the servers of this process. */

import type { Acceptor } from './server/acceptor.ts'
import { reportError } from './lifecycle/app-events.ts'
import { stuckError } from './connection-end.ts'
import type { ConnectionContext } from './lifecycle/connection.ts'
import { closeTimeout, lifeOf } from './lifecycle/context.ts'
import { startDeadline } from './deadline.ts'
import { CioError } from './errors.ts'
import { Lifecycle } from './lifecycle/lifecycle.ts'
import type { ServerContext } from './server/server.ts'
import { staggeredDrain } from './server/staggered-drain.ts'

const servers = new Set<ServerContext>()

/** Fulfils when no server of this process is left, of whatever app. */
export async function untilNoServer(): Promise<void> {
  while (servers.size > 0) await Promise.all([...servers].map(({ closed }) => closed))
}

/** The life of a server: it ends when the last connection has. */
export class ServerLife extends Lifecycle {
  ctx!: ServerContext
  readonly connections: Set<ConnectionContext> = new Set()
  acceptor: Acceptor | undefined
  window = 0
  #emptied = (): void => {}
  #stopWaves = (): void => {}

  /** Counts it among the servers of this process. */
  begin(): void {
    servers.add(this.ctx)
  }

  /** Fulfils when it has stopped accepting and the last connection is over. */
  untilEmptied(): Promise<void> {
    return new Promise((resolve) => {
      const emptied = this.#emptied
      this.#emptied = () => {
        emptied()
        resolve()
      }
      this.checkEmptied()
    })
  }

  checkEmptied(): void {
    if (!this.isDraining || this.connections.size > 0) return
    this.#stopWaves()
    this.#emptied()
    // Now it is the turn of the server's own middleware.
    this.watchAgain()
  }

  /** Stops accepting and drains the connections. Before it listens, it is over. */
  override drain(reason?: Error): void {
    if (this.wasReady || this.phase === 'closed') super.drain(reason)
    else this.destroy(reason ?? new CioError('ERR_CIO_CLOSED', 'close() was called'))
  }

  protected override drained(reason?: Error): void {
    this.acceptor?.close()
    for (const connection of this.connections) {
      // It has been accepted and has not said a word of its handshake: nothing is lost.
      const { encrypted, tlsSkipped, socket } = connection
      if (this.ctx.tls && !tlsSkipped && !encrypted && socket?.bytesRead === 0) connection.destroy()
    }
    this.#stopWaves()
    this.#stopWaves = staggeredDrain(this.connections, this.window, reason)
    this.checkEmptied()
  }

  override destroy(cause?: Error): void {
    super.destroy(cause)
    this.drained(cause)
    for (const connection of this.connections) connection.destroy(cause)
  }

  protected override cutOff(patience: number): number {
    const message = 'it was still open at the deadline of close()'
    const late = new CioError('ERR_CIO_DRAIN_TIMEOUT', message, { fault: 'remote' })
    let count = 0
    for (const connection of this.connections) count += lifeOf(connection).cutOff(patience, late)
    return count
  }

  protected override leaveBehind(): void {
    if (this.connections.size === 0) {
      reportError(this.ctx.app, stuckError(this.ctx), this.ctx)
      return this.settle()
    }
    for (const connection of this.connections) lifeOf(connection).leaveBehind()
  }

  override settle(cause?: Error): void {
    servers.delete(this.ctx)
    super.settle(cause)
  }

  /** Stops accepting, and fulfils when the last connection is over: for the `listen` step. */
  async empty(): Promise<void> {
    super.drain()
    if (this.connections.size === 0) return
    const deadline = startDeadline(closeTimeout, () => this.force())
    await this.untilEmptied()
    deadline?.stop()
  }
}

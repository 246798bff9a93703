/** The life of a server, and the servers of this process. */

import type { Acceptor } from './acceptor.ts'
import { reportError } from '../lifecycle/app-events.ts'
import type { Contexts } from '../lifecycle/app.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { closeTimeout, lifeOf } from '../lifecycle/context.ts'
import { startDeadline } from '../deadline.ts'
import { CioError } from '../errors.ts'
import { Lifecycle, stuckError } from '../lifecycle/lifecycle.ts'
import { OpenConnections } from './open-connections.ts'
import { staggeredDrain } from './staggered-drain.ts'

type ServerContext = Contexts['server']

const servers = new Set<ServerContext>()

/** Fulfils when this process has no open server, of any app. */
export async function untilNoServer(): Promise<void> {
  while (servers.size > 0) await Promise.all([...servers].map(({ closed }) => closed))
}

/** The life of a server: it ends after its last connection. */
export class ServerLife extends Lifecycle {
  ctx!: ServerContext
  readonly connections: OpenConnections = new OpenConnections()
  acceptor: Acceptor | undefined
  window = 0
  minLifetime = 0
  #emptied = (): void => {}
  #stopWaves = (): void => {}

  /** Counts it among the servers of this process. */
  begin(): void {
    servers.add(this.ctx)
  }

  /** Fulfils when the server has stopped accepting and the last connection has closed. */
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
    // The server's own middleware return next, so their time begins again.
    this.watchAgain()
  }

  /** Stops accepting and drains the connections. Before the server listens, it just ends. */
  override drain(reason?: Error): void {
    if (this.wasReady || this.phase === 'closed') super.drain(reason)
    else this.destroy(reason ?? new CioError('ERR_CIO_CLOSED', 'close() was called'))
  }

  protected override drained(reason?: Error): void {
    this.acceptor?.close()
    this.#stopWaves()
    const [old, young] = this.#byAge()
    const stop = this.#askToFinish(old, this.window, reason)
    // One timer for all: the server accepts no more, so by then all of them are old enough.
    const askYoung = (): void => void this.#askToFinish(young, 0, reason)
    const timer = young.length > 0 ? setTimeout(askYoung, this.minLifetime) : undefined
    this.#stopWaves = () => {
      stop()
      clearTimeout(timer)
    }
    this.checkEmptied()
  }

  /** The connections that have had `minLifetime`, and those that have not. */
  #byAge(): readonly [old: Iterable<ConnectionContext>, young: readonly ConnectionContext[]] {
    if (this.minLifetime === 0 || this.phase === 'closed') return [this.connections, []]
    const since = performance.now() - this.minLifetime
    const all = [...this.connections]
    const isOld = (connection: ConnectionContext): boolean => connection.acceptedAt <= since
    return [all.filter(isOld), all.filter((connection) => !isOld(connection))]
  }

  #askToFinish(
    connections: Iterable<ConnectionContext>,
    spread: number,
    reason: Error | undefined,
  ): () => void {
    for (const connection of connections) {
      // The client has sent no byte of a handshake, so nothing is lost.
      const { encrypted, tlsSkipped, socket } = connection
      if (this.ctx.tls && !tlsSkipped && !encrypted && socket?.bytesRead === 0) connection.destroy()
    }
    return staggeredDrain(connections, spread, reason)
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

  /** Stops accepting, and fulfils when the last connection has closed: for the `listen` step. */
  async empty(): Promise<void> {
    super.drain()
    if (this.connections.size === 0) return
    const deadline = startDeadline(closeTimeout, () => this.force())
    await this.untilEmptied()
    deadline?.stop()
  }
}

/** Hot reload: a server reads its certificates and lists again, and evicts revoked peers. */

import debug from 'debug'
import type { TLSSocket } from 'node:tls'
import { emitSafely } from '../lifecycle/app-events.ts'
import { presentedIssuers } from '../identity/peer-certificate.ts'
import { evict } from '../lifecycle/evict.ts'
import { CioError, quote } from '../errors.ts'
import { checkOptions } from '../known-options.ts'
import { concealed } from '../secret-options.ts'
import type { ServerNames } from '../tls/sni.ts'
import type { ListenOptions, ServerContext } from './server.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { namesOf, swapCertificates } from '../tls/tls-server.ts'

const log = debug('cio:server')
// Each check takes the time of a signature.
const judgedAtOnce = 32

/** Makes new options from the present ones; must return the same if nothing has changed. */
export type OptionsLoader = (options: ListenOptions) => ListenOptions | Promise<ListenOptions>

/** The option loaders of a server, in the order in which they were added. */
export class Reloader {
  readonly #ctx: ServerContext
  readonly #loads = new Set<OptionsLoader>()
  #last: Promise<void> = Promise.resolve()

  constructor(ctx: ServerContext) {
    this.#ctx = ctx
  }

  async add(load: OptionsLoader): Promise<() => void> {
    this.#ctx.options = await load(this.#ctx.options)
    this.#loads.add(load)
    return () => void this.#loads.delete(load)
  }

  /** One at a time. */
  run(): Promise<void> {
    const reload = (): Promise<void> => this.#run()
    const result = this.#last.then(reload, reload)
    this.#last = result
    return result
  }

  async #run(): Promise<void> {
    const ctx = this.#ctx
    let { options } = ctx
    for (const load of this.#loads) options = concealed(await load(options), options)
    checkOptions('listen', options)
    if (ctx.isClosed) throw ctx.signal.reason
    const { requestCert } = ctx.options
    // Set by `listen`, perhaps meanwhile: without it, the server would request no certificate.
    if (requestCert !== undefined) options = concealed({ ...options, requestCert }, options)
    const { tls } = ctx
    const before = tls && namesOf(tls)
    if (tls) swapCertificates(tls, options)
    ctx.options = options
    log('reloaded')
    emitSafely(ctx.app, 'reload', ctx)
    if (tls && before?.trustHash !== namesOf(tls).trustHash) await judgeAgain(ctx, namesOf(tls))
  }
}

/** Evicts peers whose certificates are not accepted any more. */
async function judgeAgain(server: ServerContext, names: ServerNames): Promise<void> {
  const { revoked } = server.options
  if (revoked === 'keep') return
  let judged = 0
  // A copy: the loop awaits, and connections come and go meanwhile.
  const connections = [...server.connections]
  for (const ctx of connections) {
    if (ctx.isClosed) continue
    const error = trustError(ctx, names)
    if (error) evict(ctx, error, server.options)
    if (++judged % judgedAtOnce === 0) await new Promise(setImmediate)
  }
}

/** Why a verified peer is not trusted any more, or undefined. */
export function trustError(ctx: StreamContext, names: ServerNames): CioError | undefined {
  const { peer, socket, remote } = ctx
  if (!peer) return undefined
  const { servername } = socket as TLSSocket & { servername?: string | false }
  const issuers = presentedIssuers(socket as TLSSocket)
  const why = names.trustOf(servername).refuses(peer.certificate, issuers)
  if (why === undefined) return undefined
  const name = peer.name === null ? '' : ` (${quote(peer.name)})`
  const message = `${remote}${name} was turned away by \`secure\`: its certificate ${why}`
  return new CioError('ERR_CIO_REJECTED', message, {
    fault: 'remote',
    end: 'untrusted',
    refusal: { step: 'secure', why: 'untrusted', peer: { name: peer.name, verified: true } },
  })
}

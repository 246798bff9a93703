/** Hot reload: a server reads its certificates and lists again, and evicts revoked peers. */

import { debug } from '../debug.ts'
import { emitSafely } from '../lifecycle/app-events.ts'
import type { Contexts } from '../lifecycle/app.ts'
import { evict } from '../lifecycle/evict.ts'
import { checkOptions } from '../lifecycle/known-options.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import type { ServerNames } from '../tls/sni.ts'
import type { ListenOptions } from './listen-options.ts'
import { trustError } from '../tls/trust-store.ts'
import { namesOf, swapCertificates } from '../tls/tls-server.ts'

type ServerContext = Contexts['server']

const log = debug('cio:server')
// Each check takes as long as the check of a signature.
const judgedAtOnce = 32

/** Makes new options from the current ones; must return the same object if nothing has changed. */
export type OptionsLoader = (options: ListenOptions) => ListenOptions | Promise<ListenOptions>

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /** Hot reload: a server has read its keys, certificates, CAs and lists again, and uses them. */
    reload: [server: ServerContext]
  }
}

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

  /** One reload at a time. */
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
    // `listen` may have set it meanwhile. Without it, the server would request no certificate.
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

import debug from 'debug'
import { constants } from 'node:os'
import { reportError } from '../src/lifecycle/app-events.ts'
import type { ClientContext } from '../src/client/client.ts'
import type { Context } from '../src/lifecycle/context.ts'
import { type EvictOptions, checkEvictOptions } from '../src/lifecycle/evict.ts'
import { CioError, asError } from '../src/errors.ts'
import { type Middleware, type Next, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { canonicalName } from '../src/tls/sni.ts'
import type { ServerContext } from '../src/server/server.ts'
import { type CertsMaterial, loadCerts } from './certs/material.ts'
import { type CertSource, type KeySources, type Sources, pathsOf } from './certs/source.ts'
import { FileWatch } from './certs/file-watcher.ts'

export { type CertsMaterial, loadCerts } from './certs/material.ts'
export type { CertSource, KeySource } from './certs/source.ts'

const log = debug('cio:certs')

/** Keys, certificates, and who is trusted. Paths are relative to the working directory. */
export interface CertFilesOptions {
  /** Private keys, in PEM. */
  readonly key?: KeySources
  /** Certificates, in PEM, each followed by its intermediates; one for each key. */
  readonly cert?: Sources
  /** Whose certificates are trusted, in PEM. Without it, those that come with Node. */
  readonly ca?: Sources
  /** Keys with their certificates, in PKCS#12. */
  readonly pfx?: KeySources
  /** Revocation lists, in PEM: one for each CA of a chain. */
  readonly crl?: Sources
  /** Diffie-Hellman parameters, in PEM, or `'auto'`. Only servers before TLS 1.3 have a use for it. */
  readonly dhparam?: CertSource
  /** Of all keys and PKCS#12 files that bring none of their own. */
  readonly passphrase?: string
  /** Another name of `key`, from cio 0.5. */
  readonly private?: KeySources
  /** Another name of `cert`, from cio 0.5. */
  readonly public?: Sources
  /** Another name of `ca`, from cio 0.5. */
  readonly root?: Sources
}

/** Options of {@link certs}. All but the files are for servers. */
export interface CertsOptions extends CertFilesOptions, EvictOptions {
  /**
   * Keys and certificates by the host name that a client asks for. `*.example` is for one label in
   * place of the star; an exact name goes before it. What has no `ca` of its own trusts whom the
   * server trusts.
   */
  readonly sni?: Readonly<Record<string, CertFilesOptions>>
  /**
   * Refuses who asks for a name that `sni` does not have, or for none, in place of presenting the
   * certificate of the server.
   *
   * @default false
   */
  readonly strictSni?: boolean
  /**
   * Looks whether a file has changed, and reloads: every second, or every so many milliseconds.
   *
   * @default false
   */
  readonly watch?: boolean | number
  /** A signal of the operating system that reloads, such as `'SIGHUP'`. */
  readonly reloadSignal?: NodeJS.Signals
}

const aliases = { private: 'key', public: 'cert', root: 'ca' } as const
const names = ['key', 'cert', 'ca', 'pfx', 'crl', 'dhparam', 'passphrase'] as const
const dismissal = ['revoked', 'drainTimeout'] as const
const live = ['sni', 'strictSni', 'watch', 'reloadSignal', ...dismissal] as const
const defaultInterval = 1_000

/**
 * Loads and checks keys and certificates, for a server or a client.
 *
 * Cio has one of these in both pipelines already, for what is given to `listen()` and `connect()`;
 * a registered one takes its place, and what is given there goes before what is given here. All is
 * read before listening, and before each connecting, and whatever is wrong is found then: a file
 * that cannot be read, or is not what it should be, a key that does not belong to its certificate, a
 * certificate that has expired or is not yet valid. Passphrases appear in no error and no log.
 *
 * While a server runs, `server.reload()`, `watch` and `reloadSignal` read all of it anew, and put
 * it in place without losing a connection or a handshake. Where something is wrong, the old ones
 * stay, and `error` tells. A client that connects again reads anew too, and keeps the old ones in
 * the same way.
 *
 * @pipelines server, client
 * @order first; it takes the place of the step of the same name. On a client that reconnects, inside
 *   `reconnect`
 * @adds nothing; puts the contents of files into `ctx.options`
 * @rejects `ERR_CIO_CERTIFICATE` (local): something is wrong; names the option and the file
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range, or given under both its names
 * @see RFC 6066, section 3, for `sni`
 *
 * @example
 * import { Cio, certs } from 'cio'
 *
 * const app = new Cio()
 *   .useServer(certs({ key: 'server.key', cert: 'server.crt', ca: 'ca.crt', watch: true }))
 *   .useClient(certs({ key: 'alice.key', cert: 'alice.crt', ca: 'ca.crt' }))
 */
export function certs(options: CertsOptions = {}): Middleware<ServerContext | ClientContext> {
  checkOptionNames('certs', options, [...names, ...Object.keys(aliases), ...live])
  const given = rename(options)
  checkLive(given)
  const before = new WeakMap<Context, CertsOptions>()

  return defineMiddleware<ServerContext | ClientContext>(
    { name: 'certs', after: 'reconnect' },
    async function certs(ctx, next) {
      const known = before.get(ctx)
      const sources = known ?? { ...given, ...rename(ctx.options) }
      before.set(ctx, sources)
      if ('configure' in ctx) return serve(ctx, sources, next)

      try {
        ctx.options = withMaterial(ctx.options, await loadCerts(sources))
      } catch (thrown) {
        if (!known) throw thrown
        reportError(ctx.app, asError(thrown), ctx)
      }
      return next()
    },
  )
}

async function serve(ctx: ServerContext, sources: CertsOptions, next: Next): Promise<void> {
  checkLive(sources)
  const { watch = false, reloadSignal, sni = {} } = sources
  const all = [sources, ...Object.values(sni)]
  const interval = watch === true ? defaultInterval : watch
  const files = interval === false ? undefined : new FileWatch(all.flatMap(pathsOf), interval)
  await files?.look()
  const forget = await ctx.configure(async (options) => {
    const named = Object.entries(sni).map(async ([name, one]) => [
      name,
      await loadCerts(rename(one)),
    ])
    const { strictSni, revoked, drainTimeout } = sources
    const own = { strictSni, revoked, drainTimeout }
    const given = Object.entries(own).filter(([, value]) => value !== undefined)
    return {
      ...withMaterial(options, await loadCerts(sources)),
      ...(sources.sni && { sni: Object.fromEntries(await Promise.all(named)) as typeof sni }),
      ...Object.fromEntries(given),
    }
  })

  const reload = async (quietly = false): Promise<boolean> => {
    try {
      await ctx.reload()
      return true
    } catch (thrown) {
      log('not reloaded: %s', asError(thrown).message)
      if (!quietly && !ctx.isClosed) reportError(ctx.app, asError(thrown), ctx)
      return false
    }
  }
  const signalled = (): void => void reload()
  if (reloadSignal) process.on(reloadSignal, signalled)
  files?.start(reload)
  try {
    return await next()
  } finally {
    files?.stop()
    if (reloadSignal) process.off(reloadSignal, signalled)
    forget()
  }
}

/** Options that the material replaces: it has their contents under another name. */
const replaced = { private: undefined, public: undefined, root: undefined, pfx: undefined } as const

/**
 * The options, with the contents of files in place of their paths.
 *
 * @internal
 */
export function withMaterial<Given extends object>(options: Given, material: CertsMaterial): Given {
  return { ...options, ...replaced, ...material }
}

function checkLive(options: CertsOptions): void {
  const { sni = {}, watch, reloadSignal } = options
  checkEvictOptions('certs', options)
  if (typeof watch !== 'boolean' && watch !== undefined) {
    checkDuration('certs', 'watch', watch)
    if (watch < 1 || watch === Infinity) {
      throw optionError('certs', 'watch', 'a boolean, or finite milliseconds from 1', watch)
    }
  }
  const uncaught = reloadSignal === 'SIGKILL' || reloadSignal === 'SIGSTOP'
  if (reloadSignal && (uncaught || !Object.hasOwn(constants.signals, reloadSignal))) {
    throw optionError('certs', 'reloadSignal', 'a signal that can be caught', reloadSignal)
  }
  const known = new Set<string>()
  for (const [name, one] of Object.entries(sni)) {
    const canonical = canonicalName(name)
    if (canonical === undefined || known.has(canonical)) {
      throw optionError('certs', 'sni', 'host names, or `*.` and a host name, once each', name)
    }
    known.add(canonical)
    checkOptionNames(`certs: \`sni\` of \`${name}\``, one, [...names, ...Object.keys(aliases)])
    rename(one)
  }
}

/**
 * Only the files and the options for reloading, under Node's names.
 *
 * @internal
 */
export function rename(options: CertsOptions): CertsOptions {
  const renamed: Record<string, unknown> = {}
  for (const name of [...names, ...live])
    if (options[name] !== undefined) renamed[name] = options[name]
  for (const [alias, name] of Object.entries(aliases)) {
    const value = options[alias as keyof typeof aliases]
    if (value === undefined) continue
    if (renamed[name] !== undefined) {
      throw new CioError(
        'ERR_CIO_OPTION',
        `certs: \`${alias}\` is another name of \`${name}\`, and both are given; leave one out`,
      )
    }
    renamed[name] = value
  }
  return renamed
}

export { certs as default }

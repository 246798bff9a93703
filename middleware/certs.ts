import { constants } from 'node:os'
import { debug } from '../src/debug.ts'
import { reportError } from '../src/lifecycle/app-events.ts'
import type { ClientContext } from '../src/client/client.ts'
import type { Context } from '../src/lifecycle/context.ts'
import { checkEvictOptions } from '../src/lifecycle/evict.ts'
import { CioError, asError } from '../src/errors.ts'
import { type Middleware, type Next, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkDuration,
  checkFlag,
  checkObject,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import { canonicalName } from '../src/tls/sni.ts'
import type { ServerContext } from '../src/server/server.ts'
import { type CertificateOptions, type CertsMaterial, loadCerts } from '../src/tls/certificates.ts'
import { FileWatch } from './certs/file-watcher.ts'

export { type CertFilesOptions, type CertsMaterial, loadCerts } from '../src/tls/certificates.ts'
export type { CertSource, KeySource } from '../src/tls/certificates/source.ts'

const log = debug('cio:certs')

/** Options of {@link certs}. All options except the files are for servers only. */
export interface CertsOptions extends CertificateOptions {}

const aliases = { private: 'key', public: 'cert', root: 'ca' } as const
const names = ['key', 'cert', 'ca', 'pfx', 'crl', 'dhparam', 'passphrase'] as const
const evictOptions = ['revoked', 'drainTimeout'] as const
const live = ['sni', 'strictSni', 'watch', 'reloadSignal', ...evictOptions] as const
const defaultInterval = 1_000

/**
 * Loads TLS certificates and keys, checks them, and hot reloads them.
 *
 * Both pipelines already contain a built-in `certs` step, for the options of `listen()` and
 * `connect()`. A registered one replaces it, and options of the call take precedence over its own.
 * `certs` reads everything before the server listens, and before each connection of a client. It
 * then finds each mistake: a file that cannot be read or has the wrong content, a key that does not
 * match its certificate, a certificate that has expired or is not yet valid. Passphrases appear in
 * no error and no log.
 *
 * While a server runs, `server.reload()`, `watch` and `reloadSignal` read all files again, and
 * replace them without losing a connection or a handshake. If something is wrong, the old ones stay
 * in use, and Cio emits `error`. A client reads the files again when it reconnects, and also keeps
 * the old ones on failure.
 *
 * @pipelines server, client
 * @order first; it replaces the built-in step of the same name. On a client that reconnects, inside
 *   `reconnect`
 * @adds nothing; puts the contents of the files into `ctx.options`
 * @rejects `ERR_CIO_CERTIFICATE` (local): a file is missing, broken or does not match; the error
 *   names the option and the file
 * @throws `ERR_CIO_OPTION`: an option is unknown, out of its range, or given under both its names; a
 *   file is `undefined`, as from an environment variable that is not set
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
  checkObject('certs', 'sni', options.sni)
  checkFlag('certs', 'strictSni', options.strictSni)
  for (const one of [options, ...Object.values(options.sni ?? {})]) checkPresent(one)
  const given = rename(options)
  checkLive(given)
  const before = new WeakMap<Context, CertsOptions>()

  return defineMiddleware<ServerContext | ClientContext>(
    { name: 'certs', pipelines: ['server', 'client'], after: 'reconnect' },
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
  const files = interval === false ? undefined : new FileWatch(all, interval)
  await files?.look()
  const forget = await ctx.configure(async (options) => {
    const named = Object.entries(sni).map(async ([name, one]) => [
      name,
      // Set to undefined by name: otherwise the options would keep secrets that they do not
      // mention.
      { ...replaced, ...(await loadCerts(rename(one))) },
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
  const onSignal = (): void => void reload()
  if (reloadSignal) process.on(reloadSignal, onSignal)
  files?.start(reload)
  try {
    return await next()
  } finally {
    files?.stop()
    if (reloadSignal) process.off(reloadSignal, onSignal)
    forget()
  }
}

/** Options that Cio removes: the loaded material has their contents under another name. */
const replaced = { private: undefined, public: undefined, root: undefined, pfx: undefined } as const

/**
 * The options, with the contents of files in place of their paths.
 *
 * @internal
 */
export function withMaterial<Given extends object>(options: Given, material: CertsMaterial): Given {
  return { ...options, ...replaced, ...material }
}

/** Without it, a variable of the environment that is not set would make a server without TLS. */
function checkPresent(options: object): void {
  checkObject('certs', 'sni', options)
  for (const name of ['key', 'cert', 'ca', 'pfx', 'crl', ...Object.keys(aliases)]) {
    if (Object.hasOwn(options, name) && options[name as keyof object] === undefined) {
      throw optionError('certs', name, 'a path or its contents, or left out', undefined)
    }
  }
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
        `certs: \`${alias}\` is another name of \`${name}\`, and both are set; remove one`,
      )
    }
    renamed[name] = value
  }
  return renamed
}

export { certs as default }

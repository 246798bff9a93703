/** A CA or a revocation list that is the same on all instances. */

import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { CioError, type Middleware, type ServerContext, defineMiddleware } from 'cio'
import { checkOptionNames, optionError } from 'cio/kit'
import type { Cluster } from './cluster.ts'
import { type SharedOptions, checkSharedOptions, sharedOptionNames } from './shared/options.ts'
import type { AppliedOptions } from './shared/proof.ts'
import { Shared } from './shared/shared.ts'

/** Options of {@link sharedTrust}. */
export interface SharedTrustOptions extends SharedOptions {
  /** The option of the server that it replaces: certificate authorities, or revocation lists. */
  readonly option: 'ca' | 'crl'
  /**
   * The name, the same on all instances.
   *
   * @default the name of the option
   */
  readonly name?: string
}

/** The middleware, with the methods that change the trust on all instances. */
export interface SharedTrust extends Middleware<ServerContext> {
  /** The revision in force on this instance; 0: none. */
  readonly revision: number
  /**
   * Signs new PEM blocks, and publishes them to all instances. Fulfils with the revision when the
   * broker has it; `applied()` waits for the instances.
   *
   * @throws `ERR_CIO_CERTIFICATE`: the text is not PEM of the right kind
   * @throws `ERR_CIO_OPTION`: there is no `signKey`
   * @throws `ERR_CIO_STALE`: another one was published at the same time
   * @throws `ERR_CIO_CLUSTER_DOWN`
   */
  publish(pem: string | Buffer): Promise<number>
  /**
   * Fulfils when all live instances with this trust apply this revision or a later one, with the
   * revision of each instance by its id.
   *
   * @throws `ERR_CIO_NOT_APPLIED`: some do not within `timeout`; the message names them
   */
  applied(revision: number, options?: AppliedOptions): Promise<ReadonlyMap<string, number>>
}

const blocks = {
  ca: /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
  crl: /-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g,
} as const

/**
 * Certificate authorities or a certificate revocation list (CRL) for all instances of mutual TLS.
 *
 * As `sharedList`: signed with Ed25519, changed once, applied by each instance with a hot reload of
 * its servers, and refused if it is older, or if a server cannot use it. A reload checks the open
 * connections again, by the option `revoked` of the server. The value replaces the option `ca` or
 * `crl` of the server.
 *
 * Fails closed: without a revision from the broker or from `file`, the server does not listen.
 *
 * @pipelines server
 * @order after `cluster` and `certs`, before `listen`
 * @adds nothing; puts `ca` or `crl` into `ctx.options`; the middleware itself has `publish`,
 *   `applied`, `revision`
 * @rejects `ERR_CIO_NO_COPY` (local): there is no revision within `startTimeout`; `ERR_CIO_SIGNATURE`
 *   (local): the copy in `file` is not signed by the key
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range
 * @see RFC 5280, section 5, for revocation lists
 *
 * @example
 * import { Cio, certs } from 'cio'
 * import { cluster, sharedTrust } from '@cio/cluster'
 * import { generateKeyPairSync } from 'node:crypto'
 *
 * const { publicKey } = generateKeyPairSync('ed25519')
 * const here = cluster()
 * const app = new Cio()
 *   .useServer(certs({ key: 'server.key', cert: 'server.crt', ca: 'ca.crt' }))
 *   .useServer(here)
 *   .useServer(sharedTrust(here, { option: 'crl', verifyKey: publicKey, file: 'crl.signed' }))
 */
export function sharedTrust(cluster: Cluster, options: SharedTrustOptions): SharedTrust {
  checkOptionNames('sharedTrust', options, ['option', 'name', ...sharedOptionNames])
  const { option, name = option } = options
  if (option !== 'ca' && option !== 'crl') {
    throw optionError('sharedTrust', 'option', "'ca' or 'crl'", option)
  }
  const settings = checkSharedOptions('sharedTrust', options)
  const servers = new Set<ServerContext>()
  let value: readonly string[] = []
  const apply = async (body: Uint8Array): Promise<void> => {
    const before = value
    value = pemBlocks(option, Buffer.from(body).toString())
    const reloaded: ServerContext[] = []
    try {
      for (const server of servers) {
        reloaded.push(server)
        await server.reload()
      }
    } catch (error) {
      value = before
      for (const server of reloaded) await server.reload().catch(() => {})
      throw error
    }
  }
  const part = { owner: 'sharedTrust', name, purpose: option, apply }
  const shared = new Shared(cluster, part, settings)

  const middleware = defineMiddleware<ServerContext>(
    {
      name: `sharedTrust:${name}`,
      pipelines: ['server'],
      after: ['cluster', 'certs'],
      before: 'listen',
    },
    async function sharedTrust(ctx, next) {
      const leave = await shared.enter(ctx)
      let forget = (): void => {}
      try {
        forget = await ctx.configure((given) => ({ ...given, [option]: [...value] }))
        servers.add(ctx)
        return await next()
      } finally {
        servers.delete(ctx)
        forget()
        leave()
      }
    },
  )
  const made = Object.assign(middleware, {
    publish: async (pem: string | Buffer) => {
      return shared.publish(Buffer.from(pemBlocks(option, pem.toString()).join('\n')))
    },
    applied: (revision: number, options?: AppliedOptions) => shared.applied(revision, options),
    revision: 0,
  })
  return Object.defineProperty(made, 'revision', { get: () => shared.revision })
}

/** @throws `ERR_CIO_CERTIFICATE` */
function pemBlocks(option: 'ca' | 'crl', text: string): readonly string[] {
  const found = text.match(blocks[option]) ?? []
  try {
    if (found.length === 0) throw new Error('there is no PEM block of it')
    for (const block of found) {
      if (option === 'ca') void new X509Certificate(block)
      else createSecureContext({ crl: block })
    }
    return found
  } catch (cause) {
    throw new CioError('ERR_CIO_CERTIFICATE', `sharedTrust: this is no \`${option}\``, { cause })
  }
}

export { sharedTrust as default }

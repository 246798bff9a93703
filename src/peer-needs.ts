/** Finds middleware that need an identity in runs without one, before the server listens. */

import type { ClientContext } from './client/client.ts'
import { CioError } from './errors.ts'
import { tlsWish } from './known-options.ts'
import type { Pipeline } from './pipeline/pipeline.ts'
import type { ServerContext } from './server/server.ts'

/**
 * Fails if a middleware needs `ctx.peer` and nothing in the pipeline can provide one.
 *
 * @throws `ERR_CIO_NO_IDENTITY`: says what to add
 */
export function checkPeerNeeds(ctx: ServerContext | ClientContext): void {
  const { connection, client } = ctx.app.pipelines
  const isServer = 'connections' in ctx
  const pipeline = isServer ? connection : client
  const [needy] = pipeline.needing('peer')
  if (needy === undefined || isProvided(pipeline)) return
  const why = isServer ? whyNoClient(ctx) : whyNoServer(ctx)
  if (why === undefined) return
  throw new CioError(
    'ERR_CIO_NO_IDENTITY',
    `\`${needy.name}\` (at ${needy.at}) would reject every connection: ${why}`,
  )
}

/** Whether something besides Cio's `secure` step provides an identity: `startTls`, for example. */
function isProvided(pipeline: Pick<Pipeline<never>, 'providing'>): boolean {
  return pipeline.providing('peer').some(({ step }) => !step)
}

function whyNoClient({ app, options, tls }: ServerContext): string | undefined {
  const gives = app.pipelines.connection.providing('peer').length > 0
  // A stream that is passed to `accept()` may have its own identity.
  if (options.bind === false && !tls) return undefined
  if (tls && options.requestCert && gives) return undefined
  if (!gives) return 'the step `secure` is removed or disabled; let it stand'
  if (tls) {
    return 'the server asks its clients for no certificate; give it the `ca` that has signed theirs, or `requestCert: true`'
  }
  return 'the server has no TLS, so its clients have no identity; add `.useServer(certs({ key, cert, ca }))` (`npx cio certs alice` makes all three for a trial)'
}

function whyNoServer({ app, options }: ClientContext): string | undefined {
  const gives = app.pipelines.client.providing('peer').length > 0
  const wanted = options.tls ?? (tlsWish('connect', options) !== undefined || isNamed(options))
  if (wanted && gives) return undefined
  if (!gives) return 'the step `secure` is removed or disabled; let it stand'
  return 'the client uses no TLS, so the server has no identity; give `connect()` the `ca` that has signed the certificate of the server, or `tls: true` for a public one'
}

/** Whether one of several targets turns TLS on. */
function isNamed({ targets = [] }: ClientContext['options']): boolean {
  return targets.some((target) => tlsWish('connect', target) !== undefined)
}

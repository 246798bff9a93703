import { debug } from '../src/debug.ts'
import { type EvictOptions, checkEvictOptions, evict } from '../src/lifecycle/evict.ts'
import { CioError, quote } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames } from '../src/options.ts'
import type { Peer } from '../src/identity/peer.ts'
import { issuerExpiryOf } from '../src/tls/issuer-expiry.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

const log = debug('cio:certificateExpiry')
// A timer stops while the machine sleeps, and does not notice that the clock was set forward.
const checkInterval = 60 * 60 * 1_000

/** Options of {@link certificateExpiry}. */
export interface CertificateExpiryOptions extends EvictOptions {
  /**
   * Milliseconds before the expiry of the first certificate at which Cio ends the connection.
   *
   * @default 0
   */
  readonly margin?: number
}

/**
 * Closes connections with expired certificates, at the moment of expiry.
 *
 * A TLS handshake checks the dates of a certificate once, and a connection may outlive it by years.
 * When the certificate of the peer or one of its issuers expires, Cio asks the connection to finish,
 * and destroys it at the deadline. It leaves a connection without a verified identity alone.
 *
 * Cio checks the clock at least once an hour: the clock may be set forward, and the machine may
 * sleep. A resumed session carries the certificate of its full handshake; if that has expired,
 * `secure` rejects it.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing
 * @rejects `ERR_CIO_EXPIRED` (remote): the peer's certificate has expired, emitted as `remoteError`
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import { Cio, certificateExpiry } from 'cio'
 *
 * const app = new Cio().useConnection(certificateExpiry({ margin: 60_000, drainTimeout: 30_000 }))
 */
export function certificateExpiry(
  options: CertificateExpiryOptions = {},
): Middleware<StreamContext> {
  checkOptionNames('certificateExpiry', options, ['margin', 'revoked', 'drainTimeout'])
  const { margin = 0 } = options
  checkEvictOptions('certificateExpiry', options)
  checkDuration('certificateExpiry', 'margin', margin)

  return defineMiddleware<StreamContext>(
    { name: 'certificateExpiry', pipelines: ['connection', 'client'], after: 'secure' },
    async function certificateExpiry(ctx, next) {
      const { peer } = ctx
      if (!peer) return next()
      const validTo = new Date(Math.min(peer.validTo.getTime(), issuerExpiryOf(ctx.socket)))
      const end = validTo.getTime() - margin
      let timer: NodeJS.Timeout | undefined
      const wait = (): void => {
        const left = end - Date.now()
        if (left > 0) timer = setTimeout(wait, Math.min(left, checkInterval))
        else {
          if (log.enabled) log('%d %s', ctx.id, validTo.toISOString())
          evict(ctx, expiryError(ctx, peer, validTo), options)
        }
      }
      if (end <= Date.now() && options.revoked !== 'keep') throw expiryError(ctx, peer, validTo)
      wait()
      try {
        return await next()
      } finally {
        clearTimeout(timer)
      }
    },
  )
}

function expiryError({ remote }: StreamContext, peer: Peer, validTo: Date): CioError {
  const { name } = peer
  const whose = name === null ? remote : `${remote} (${quote(name)})`
  const what = validTo < peer.validTo ? 'an issuer of the certificate' : 'the certificate'
  const message = `${what} of ${whose} is valid until ${validTo.toISOString()}, so its connection ends; the peer may connect again with a new certificate`
  return new CioError('ERR_CIO_EXPIRED', message, {
    fault: 'remote',
    end: 'expired',
    refusal: { step: 'certificateExpiry', why: 'expired', peer: { name, verified: true } },
  })
}

export { certificateExpiry as default }

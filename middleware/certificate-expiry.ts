import debug from 'debug'
import { type EvictOptions, checkEvictOptions, evict } from '../src/lifecycle/evict.ts'
import { CioError, quote } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames } from '../src/options.ts'
import type { Peer } from '../src/identity/peer.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

const log = debug('cio:certificateExpiry')
// A timer stands still while the machine sleeps, and knows nothing of a clock that is put forward.
const lookAgain = 60 * 60 * 1_000

/** Options of {@link certificateExpiry}. */
export interface CertificateExpiryOptions extends EvictOptions {
  /**
   * Milliseconds before the end of the certificate at which the connection is dealt with.
   *
   * @default 0
   */
  readonly margin?: number
}

/**
 * Ends a connection when the certificate of its peer expires.
 *
 * A handshake looks at the dates of a certificate once, and a connection may outlive it by years.
 * Here it is asked to finish at that moment, and cut at the deadline. It is about the certificate
 * that was presented, not about those of its CAs. Who has no verified identity is left alone.
 *
 * The clock is looked at again at least once an hour: it may be put forward, and a machine may
 * sleep. A session that is resumed carries the certificate of its full handshake; if that has
 * expired meanwhile, `secure` refuses it.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing
 * @rejects `ERR_CIO_EXPIRED` (remote): its certificate has expired, told by `remoteError`
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
  const { margin = 0 } = options
  checkOptionNames('certificateExpiry', options, ['margin', 'revoked', 'drainTimeout'])
  checkEvictOptions('certificateExpiry', options)
  checkDuration('certificateExpiry', 'margin', margin)

  return defineMiddleware<StreamContext>(
    { name: 'certificateExpiry', after: 'secure' },
    async function certificateExpiry(ctx, next) {
      const { peer } = ctx
      if (!peer) return next()
      const end = peer.validTo.getTime() - margin
      let timer: NodeJS.Timeout | undefined
      const wait = (): void => {
        const left = end - Date.now()
        if (left > 0) timer = setTimeout(wait, Math.min(left, lookAgain))
        else {
          if (log.enabled) log('%d %s', ctx.id, peer.validTo.toISOString())
          evict(ctx, expired(ctx, peer), options)
        }
      }
      if (end <= Date.now() && options.revoked !== 'keep') throw expired(ctx, peer)
      wait()
      try {
        return await next()
      } finally {
        clearTimeout(timer)
      }
    },
  )
}

function expired({ remote }: StreamContext, { name, validTo }: Peer): CioError {
  const who = name === null ? remote : `${remote} (${quote(name)})`
  const message = `the certificate of ${who} is of use until ${validTo.toISOString()}, and its connection ends with it`
  return new CioError('ERR_CIO_EXPIRED', message, {
    fault: 'remote',
    end: 'expired',
    refusal: { step: 'certificateExpiry', why: 'expired', peer: { name, verified: true } },
  })
}

export { certificateExpiry as default }

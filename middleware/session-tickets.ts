import debug from 'debug'
import { hkdfSync } from 'node:crypto'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import type { ListenOptions, ServerContext } from '../src/server/server.ts'
import { trustHash } from '../src/tls/trust-store.ts'

const log = debug('cio:sessionTickets')

/** Options of {@link sessionTickets}. */
export interface SessionTicketsOptions {
  /**
   * The secret that is shared by all processes that resume each other's sessions: at least 32
   * random bytes, or a string of at least 32 characters.
   */
  readonly secret: string | Buffer
  /**
   * Milliseconds between two key rotations, by the clock, so that all processes rotate together.
   * `Infinity` never rotates.
   *
   * @default 43_200_000
   */
  readonly rotateInterval?: number
}

// Check again within an hour: the clock may be changed, and the machine may sleep.
const lookAgain = 60 * 60 * 1_000
const leastSecret = 32
const keySize = 48
const contextSize = 16

/**
 * TLS session resumption across processes, with shared ticket keys.
 *
 * The ticket key is derived (HKDF) from a secret, the trust settings (the contents of `ca` and
 * `crl`), and the time. So a session resumes at any process with the same secret and the same
 * trust. Once the trust has changed, it resumes at none: a revoked client has to do a full
 * handshake. Node's plain `ticketKeys`, kept over a change of `ca`, would still accept it.
 *
 * Node holds only the current key, so a session from before a rotation is not resumed: it costs a
 * full handshake, and nothing fails. Tickets are off if the names of `sni` have different trust
 * settings, or with `strictSni`.
 *
 * @pipelines server
 * @order after `certs`, whose `ca` and `crl` it needs; before `listen`
 * @adds nothing; puts `ticketKeys` and `sessionIdContext` into `ctx.options`
 * @rejects nothing
 * @throws `ERR_CIO_OPTION`: `secret` is too short, or an option is out of its range
 * @see RFC 5077, section 5.5, RFC 5869
 *
 * @example
 * import { randomBytes } from 'node:crypto'
 * import { Cio, sessionTickets } from 'cio'
 *
 * const secret = process.env.TICKET_SECRET ?? randomBytes(32)
 * const app = new Cio().useServer(sessionTickets({ secret }))
 */
export function sessionTickets(options: SessionTicketsOptions): Middleware<ServerContext> {
  const { secret, rotateInterval = 12 * 60 * 60 * 1_000 } = checkSecret(options)
  checkDuration('sessionTickets', 'rotateInterval', rotateInterval)
  if (rotateInterval === 0)
    throw optionError('sessionTickets', 'rotateInterval', 'more than 0 ms', rotateInterval)

  return defineMiddleware<ServerContext>(
    { name: 'sessionTickets', after: 'certs', before: 'listen' },
    async function sessionTickets(ctx, next) {
      let timer: NodeJS.Timeout | undefined
      const turn = (): void => {
        if (rotateInterval === Infinity) return
        // Plus 1: a timer may fire a little early.
        const left = Math.min(rotateInterval - (Date.now() % rotateInterval) + 1, lookAgain)
        timer = setTimeout(() => {
          const next = keys(ctx.options)
          if (!ctx.options.ticketKeys?.equals(next.ticketKeys)) {
            ctx.options = { ...ctx.options, ...next }
            ctx.tls?.setTicketKeys(next.ticketKeys)
            log('rotated the ticket key')
          }
          turn()
        }, left)
      }
      const forget = await ctx.configure((given) => ({ ...given, ...keys(given) }))
      turn()
      try {
        return await next()
      } finally {
        clearTimeout(timer)
        forget()
      }
    },
  )

  function keys(given: ListenOptions): { ticketKeys: Buffer; sessionIdContext: string } {
    const epoch = rotateInterval === Infinity ? 0 : Math.floor(Date.now() / rotateInterval)
    const derive = (label: string, size: number): Buffer => {
      const info = Buffer.concat([Buffer.from(`cio ${label} `), trustHash(given)])
      return Buffer.from(hkdfSync('sha256', secret, `${rotateInterval} ${epoch}`, info, size))
    }
    return {
      ticketKeys: derive('ticket keys', keySize),
      // From the secret alone: the keys depend on the trust, and the server mixes it in as well.
      sessionIdContext: Buffer.from(
        hkdfSync('sha256', secret, '', 'cio session context', contextSize),
      ).toString('hex'),
    }
  }
}

/** Never puts the secret into a message. */
function checkSecret(options: SessionTicketsOptions): SessionTicketsOptions {
  checkOptionNames('sessionTickets', options ?? {}, ['secret', 'rotateInterval'])
  const { secret } = options ?? {}
  const valid = typeof secret === 'string' || Buffer.isBuffer(secret)
  if (valid && secret.length >= leastSecret) return options
  throw new CioError(
    'ERR_CIO_OPTION',
    `sessionTickets: expected \`secret\` to be a string or Buffer of at least ${leastSecret}, got ${valid ? `a length of ${secret.length}` : `a value of type ${typeof secret}`}`,
  )
}

export { sessionTickets as default }

import { hkdfSync } from 'node:crypto'
import { debug } from '../src/debug.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import type { ServerContext } from '../src/server/server.ts'
import type { ListenOptions } from '../src/server/listen-options.ts'
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

/** Shared TLS session tickets, whose secret can be changed while servers run. */
export interface SessionTicketsMiddleware extends Middleware<ServerContext> {
  /**
   * Changes the secret, at once, in all servers that use this middleware. Sessions of the previous
   * secret are not resumed any more: each costs a full handshake, and no connection fails.
   *
   * @throws `ERR_CIO_OPTION`: the secret is too short; the present one is kept
   */
  readonly update: (secret: string | Buffer) => void
}

// Check again within an hour: the clock may be changed, and the machine may sleep.
const lookAgain = 60 * 60 * 1_000
const leastSecret = 32
const keySize = 48

/**
 * TLS session resumption across processes, with shared ticket keys.
 *
 * The ticket key is derived (HKDF) from a secret, the trust settings (the contents of `ca` and
 * `crl`), and the time. So a session resumes at any process with the same secret and the same
 * trust. After a change of trust it resumes at no process: a revoked client has to do a full
 * handshake. With Node's plain `ticketKeys` it would still resume after a change of `ca`.
 *
 * Node holds only the current key, so a session from before a rotation is not resumed: it costs a
 * full handshake, and nothing fails. `update(secret)` changes the secret while servers run, for
 * rotation from outside: processes that are given the same secret have the same keys. Tickets are off if the names of `sni` have different trust
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
export function sessionTickets(options: SessionTicketsOptions): SessionTicketsMiddleware {
  checkOptionNames('sessionTickets', options ?? {}, ['secret', 'rotateInterval'])
  const { rotateInterval = 12 * 60 * 60 * 1_000 } = options ?? {}
  let secret = checkedSecret(options?.secret)
  const renewals = new Set<() => void>()
  checkDuration('sessionTickets', 'rotateInterval', rotateInterval)
  if (rotateInterval === 0)
    throw optionError('sessionTickets', 'rotateInterval', 'more than 0 ms', rotateInterval)

  const middleware = defineMiddleware<ServerContext>(
    { name: 'sessionTickets', pipelines: ['server'], after: 'certs', before: 'listen' },
    async function sessionTickets(ctx, next) {
      let timer: NodeJS.Timeout | undefined
      const renew = (): void => {
        const next = keys(ctx.options)
        if (ctx.options.ticketKeys?.equals(next.ticketKeys)) return
        ctx.options = { ...ctx.options, ...next }
        ctx.tls?.setTicketKeys(next.ticketKeys)
        log('changed the ticket key')
      }
      const turn = (): void => {
        if (rotateInterval === Infinity) return
        // Plus 1: a timer may fire a little early.
        const left = Math.min(rotateInterval - (Date.now() % rotateInterval) + 1, lookAgain)
        timer = setTimeout(() => {
          renew()
          turn()
        }, left)
      }
      const forget = await ctx.configure((given) => ({ ...given, ...keys(given) }))
      turn()
      renewals.add(renew)
      // Otherwise a reload that began before an update would bring the previous secret back.
      const reloaded = (server: ServerContext): void => void (server === ctx && renew())
      ctx.app.on('reload', reloaded)
      renew()
      try {
        return await next()
      } finally {
        clearTimeout(timer)
        renewals.delete(renew)
        ctx.app.off('reload', reloaded)
        forget()
      }
    },
  )
  return Object.assign(middleware, {
    update: (next: string | Buffer): void => {
      secret = checkedSecret(next)
      for (const renew of renewals) renew()
    },
  })

  function keys(given: ListenOptions): { ticketKeys: Buffer; sessionIdContext: string } {
    const epoch = rotateInterval === Infinity ? 0 : Math.floor(Date.now() / rotateInterval)
    const derive = (label: string, size: number): Buffer => {
      const info = Buffer.concat([Buffer.from(`cio ${label} `), trustHash(given)])
      return Buffer.from(hkdfSync('sha256', secret, `${rotateInterval} ${epoch}`, info, size))
    }
    return {
      ticketKeys: derive('ticket keys', keySize),
      // The same for every secret, since it cannot change while a server runs. That is safe: the
      // server adds the trust to it, and a ticket of another secret cannot be decrypted.
      sessionIdContext: 'cio sessionTickets',
    }
  }
}

/** Checks and copies a secret. No error contains it. */
function checkedSecret(secret: unknown): string | Buffer {
  const valid = typeof secret === 'string' || Buffer.isBuffer(secret)
  if (valid && secret.length >= leastSecret) {
    return typeof secret === 'string' ? secret : Buffer.from(secret)
  }
  throw new CioError(
    'ERR_CIO_OPTION',
    `sessionTickets: expected \`secret\` to be a string or Buffer of at least ${leastSecret}, got ${valid ? `a length of ${secret.length}` : `a value of type ${typeof secret}`}`,
  )
}

export { sessionTickets as default }

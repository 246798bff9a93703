/** `cio listen`: the other end of `cio connect`. */

import { type ConnectionContext, Cio, type Middleware, allowList } from '../src/index.ts'
import { quote } from '../src/kit.ts'
import { type Command, UsageError, defineCommand } from './command.ts'
import { converse } from './conversation.ts'
import { exitCodes, tellFailure } from './failure.ts'
import { formatOf, formats } from './format.ts'
import { placeFrom } from './place.ts'
import { note } from './terminal.ts'

const formatNames = Object.keys(formats).join(', ')

export const listen: Command = defineCommand({
  name: 'listen',
  says: 'waits for a client, or echoes to any number of clients',
  usage: '<host:port | port | path>',
  prose: `Talks with the first client, as cio connect does with a server, and ends with it; others
are rejected meanwhile. With --echo, says back to each client what it says, until it is stopped.
Without a host it is reached from this host alone; 0.0.0.0:7000 lets others in.`,
  options: {
    echo: { type: 'boolean', says: 'sends back all received data, to any number of clients' },
    format: { type: 'string', short: 'f', value: 'format', says: `${formatNames}; raw without it` },
    cert: { type: 'string', value: 'file', says: 'the certificate of this side, in PEM: uses TLS' },
    key: { type: 'string', value: 'file', says: 'its key, in PEM' },
    ca: { type: 'string', multiple: true, value: 'file', says: 'a CA whose clients may connect' },
    allow: { type: 'string', multiple: true, value: 'name', says: 'a client that may come in' },
  },
  examples: [
    'cio listen 7000',
    'cio listen 7000 --echo',
    'cio listen 7000 --key certs/server.key --cert certs/server.crt --ca certs/ca.crt --allow alice',
  ],
  async run([target, ...others], { echo = false, format: name, cert, key, ca, allow }) {
    if (others.length > 0) throw new UsageError(`it takes one address; ${others[0]} is too much`)
    const place = placeFrom(target, '127.0.0.1', 0)
    if (echo && name !== undefined)
      throw new UsageError('--echo takes no --format: it sends bytes back unchanged')
    if ((key === undefined) !== (cert === undefined)) {
      throw new UsageError('--key and --cert go together')
    }
    if (ca && cert === undefined) throw new UsageError('--ca needs --key and --cert')
    if (allow && !ca)
      throw new UsageError('--allow needs --ca: only a verified certificate has a name')
    const format = formatOf(name)

    const app = new Cio()
    const failures: Error[] = []
    for (const event of ['error', 'remoteError', 'reject'] as const) {
      app.on(event, (error: Error) => {
        failures.push(error)
        if (echo || event !== 'error') tellFailure('listen', error)
      })
    }
    if (allow) app.useConnection(allowList(allow))
    if (echo) app.useConnection(echoes)
    else {
      app.useConnection(oneAtATime(() => void server.close({ timeout: Infinity })))
      if (format.codec) app.useConnection(format.codec())
      const talk: Middleware<ConnectionContext> = async function talk(ctx, next) {
        note(whoIs(ctx))
        await Promise.all([converse(ctx, format, { wait: undefined }), next()])
      }
      app.useConnection(talk)
    }
    const server = await app.listen({
      ...place,
      ...(key !== undefined && { key, cert: cert! }),
      ...(ca && { ca, requestCert: true }),
    })
    note(`listening on ${'path' in place ? place.path : `${bracketed(place.host)}:${server.port}`}`)
    await server.closed
    const wrong = failures.find(({ name }) => name === 'UsageError')
    if (wrong) return tellFailure('listen', wrong)
    return failures.length > 0 ? exitCodes.failed : exitCodes.fine
  },
})

const echoes: Middleware<ConnectionContext> = async function echoes(ctx, next) {
  const who = whoIs(ctx)
  note(who)
  ctx.stream.pipe(ctx.stream)
  await next()
  note(`${who} has left`)
}

/** Only the first client is accepted. */
function oneAtATime(done: () => void): Middleware<ConnectionContext> {
  let taken = false
  return async function oneAtATime(ctx, next) {
    if (taken) return note(`${whoIs(ctx)} was rejected: another client is connected`)
    taken = true
    try {
      await next()
    } finally {
      done()
    }
  }
}

function whoIs({ remote, peer }: ConnectionContext): string {
  return peer ? `${remote} (${quote(peer.name ?? 'without a name')})` : remote
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

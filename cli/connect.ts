/** `cio connect`: an interactive client, for plain connections and TLS. */

import { TLSSocket } from 'node:tls'
import { Cio, type ClientContext, type Middleware } from '../src/index.ts'
import { quote } from '../src/kit.ts'
import { type Command, UsageError, defineCommand, durationOf } from './command.ts'
import { converse } from './conversation.ts'
import { exitCodes, tellFailure } from './failure.ts'
import { formatOf, formats } from './format.ts'
import { placeFrom } from './place.ts'
import { note, progress } from './terminal.ts'
import { tlsOptions, tlsOptionsFrom } from './tls-options.ts'

const formatNames = Object.keys(formats).join(', ')

export const connect: Command = defineCommand({
  name: 'connect',
  says: 'connects to a server, in plaintext or with TLS',
  usage: '<host:port | port | path>',
  prose: `Standard input is sent, and what comes is written to standard output. At the end of the input
this side ends, and the rest of the answer is written until the other side ends too. The exit code
is 0 then; 1 where there was no connection, or it broke; 2 where the command or the input is wrong.
Any option of TLS asks for TLS.`,
  options: {
    format: { type: 'string', short: 'f', value: 'format', says: `${formatNames}; raw without it` },
    ...tlsOptions,
    timeout: { type: 'string', value: 'ms', says: 'for connecting, and for the handshake; 10000' },
    wait: {
      type: 'string',
      value: 'ms',
      says: 'gives up if nothing arrives for so long after the input',
    },
    verbose: { type: 'boolean', short: 'v', says: 'prints the peer; on a terminal it always does' },
  },
  examples: [
    'cio connect localhost:7000',
    'echo \'{"id":1}\' | cio connect localhost:7000 --format json',
    'cio connect example.com:443 --tls --verbose',
    'cio connect localhost:7000 --ca certs/ca.crt --cert certs/alice.crt --key certs/alice.key',
  ],
  async run([target, ...others], values) {
    if (others.length > 0) throw new UsageError(`it takes one address; ${others[0]} is too much`)
    const place = placeFrom(target, 'localhost', 1)
    const format = formatOf(values.format)
    const timeout = durationOf('timeout', values.timeout)
    const wait = durationOf('wait', values.wait)
    const { verbose } = values
    const tls = tlsOptionsFrom(values)

    let failure: Error | undefined
    const fail = (error: Error): void => void (failure ??= error)
    const app = new Cio().on('error', fail).on('remoteError', fail).on('reject', fail)
    if (format.codec) app.useClient(format.codec())
    const talk: Middleware<ClientContext> = async function talk(ctx, next) {
      if (verbose || process.stderr.isTTY) note(whoIs(ctx))
      await Promise.all([converse(ctx, format, { wait }), next()])
    }
    app.useClient(talk)

    const connecting = app.connect({
      ...place,
      ...(timeout !== undefined && { connectTimeout: timeout, handshakeTimeout: timeout }),
      ...tls,
    })
    const client = await progress(`connecting to ${target}`, connecting)
    await client.closed
    const error = failure ?? client.broken
    return error ? tellFailure('connect', error) : exitCodes.fine
  },
})

function whoIs({ socket, peer, remote }: ClientContext): string {
  if (!(socket instanceof TLSSocket)) return `connected to ${remote}`
  const protocol = `${socket.getProtocol()}, ${socket.getCipher().standardName}`
  const who = peer
    ? `${quote(peer.name ?? 'without a name')}, verified`
    : `NOT verified (${String(socket.authorizationError)})`
  return `connected to ${remote}: ${protocol}${socket.alpnProtocol ? `, ${socket.alpnProtocol}` : ''}; ${who}`
}

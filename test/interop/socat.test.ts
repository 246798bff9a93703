/** socat, which half-closes: a reply that comes after the end of input arrives. */

import test from 'ava'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Cio } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, listening, scratch, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const size = 2 * 1024 * 1024
const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Answers only after the end of input. */
function late() {
  const app = new Cio().useConnection(async (ctx) => {
    const hash = createHash('sha256')
    for await (const chunk of ctx) hash.update(chunk)
    ctx.stream.write(hash.digest('hex'))
  })
  return { app, told: recordEvents(app) }
}

for (const transport of ['TCP', 'UNIX-CONNECT', 'OPENSSL'] as const) {
  test(`socat by ${transport} gets the answer to all it has sent`, async (t) => {
    const { app, told } = late()
    const file = join(scratch(t), 'socket')
    closeAfter(t, app)
    const loopback = { host: '127.0.0.1', port: 0 }
    const server = await app.listen(
      {
        TCP: loopback,
        'UNIX-CONNECT': { path: file },
        OPENSSL: { ...loopback, ...identity('server') },
      }[transport],
    )
    const place = {
      TCP: `TCP:127.0.0.1:${server.port}`,
      'UNIX-CONNECT': `UNIX-CONNECT:${file}`,
      OPENSSL: `OPENSSL:localhost:${server.port},pf=ip4,cafile=${path('root.crt')}`,
    }[transport]
    const input = randomBytes(size)
    const { stdout, stderr } = await execute(t, 'socat', ['-t30', '-', place], { input })
    t.is(stdout, digest(input), stderr)
    t.deepEqual(told, nothing)
  })
}

test('a client of Cio half-closes, and gets what a program behind socat answers then', async (t) => {
  const port = await ownPort()
  const { child } = start(t, 'socat', [
    `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`,
    'SYSTEM:sort',
  ])
  await listening(child, port)
  const app = new Cio()
  const told = recordEvents(app)
  const client = await app.connect({ port, host: '127.0.0.1' })
  client.stream.end('b\na\n')
  let all = ''
  for await (const chunk of client) all += String(chunk)
  t.is(all, 'a\nb\n')
  await client.closed
  t.deepEqual(told, nothing)
})

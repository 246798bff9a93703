/** Squid, through which `httpConnect()` connects. */

import test, { type ExecutionContext } from 'ava'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cio, httpConnect } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { listening, scratch, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

/** A Squid that lets in this machine, but not to every port. */
async function squid(t: ExecutionContext, forbidden = 1): Promise<number> {
  const folder = scratch(t)
  const port = await ownPort()
  const file = join(folder, 'squid.conf')
  writeFileSync(
    file,
    [
      `http_port 127.0.0.1:${port}`,
      `acl forbidden port ${forbidden}`,
      'http_access deny forbidden',
      'http_access allow localhost',
      'http_access deny all',
      'access_log none',
      'cache_log /dev/null',
      'pid_filename none',
      'cache deny all',
      'cache_mem 8 MB',
      'pinger_enable off',
      'visible_hostname localhost',
      'shutdown_lifetime 1 seconds',
      `coredump_dir ${folder}`,
      '',
    ].join('\n'),
  )
  const { child } = start(t, 'squid', ['-N', '-f', file, '-n', `cio${process.pid}x${port}`])
  await listening(child, port)
  return port
}

const echo = (): Cio =>
  new Cio().useConnection(async ({ stream }, next) => {
    stream.pipe(stream)
    await next()
  })

for (const [transport, options] of [
  ['plain', {}],
  ['over TLS', identity('server')],
] as const) {
  test(`a client connects through Squid, ${transport}, and megabytes come back`, async (t) => {
    const server = await serve(t, echo(), options)
    const proxy = await squid(t)
    const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port: proxy }))
    const told = recordEvents(app)
    const tls = transport === 'plain' ? {} : { ca: path('root.crt') }
    const client = await app.connect({ port: server.port, host: 'localhost', ...tls })
    const size = 2_000_000
    client.stream.write(Buffer.alloc(size, 'x'))
    let received = 0
    for await (const chunk of client) {
      received += chunk.length
      if (received >= size) break
    }
    t.is(received, size)
    await client.close()
    t.deepEqual(told, nothing)
  })
}

test('what Squid forbids is an error that says so', async (t) => {
  const server = await serve(t, echo())
  const proxy = await squid(t, server.port)
  const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port: proxy }))
  const error = await t.throwsAsync(app.connect({ port: server.port, host: 'localhost' }))
  t.regex(error.message, /403/)
})

/** microsocks, through which `socks5()` connects. */

import test from 'ava'
import { Cio } from '../../src/index.ts'
import { socks5 } from '../../middleware/socks5.ts'
import { identity, path } from '../support/certificates.ts'
import { socksProxy } from '../support/proxies.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const login = { username: 'ann', password: 'secret' }

const echo = (): Cio =>
  new Cio().useConnection(async ({ stream }, next) => {
    stream.pipe(stream)
    await next()
  })

for (const [transport, options] of [
  ['plain', {}],
  ['over TLS', identity('server')],
] as const) {
  test(`a client logs in to microsocks, ${transport}, and megabytes come back`, async (t) => {
    const server = await serve(t, echo(), options)
    const { host, port } = await socksProxy(t, login)
    const app = new Cio().useClient(socks5({ host, port, ...login }))
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

test('a wrong password is an error, and no connection', async (t) => {
  const server = await serve(t, echo())
  const { host, port } = await socksProxy(t, login)
  const app = new Cio().useClient(socks5({ host, port, ...login, password: 'wrong' }))
  await t.throwsAsync(app.connect({ port: server.port, host: 'localhost' }))
  t.is(server.connections.size, 0)
})

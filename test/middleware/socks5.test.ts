import test from 'ava'
import { createServer } from 'node:net'
import { Cio, type CioError } from '../../src/index.ts'
import { socks5 } from '../../middleware/socks5.ts'
import { proxyContract } from '../contracts/proxy.ts'
import { httpConnect } from '../../middleware/http-connect.ts'
import { httpProxy, socksProxy } from '../support/proxies.ts'
import { closeAfter, listenBare, readAll, serve } from '../support/serve.ts'

proxyContract({
  name: 'socks5',
  make: socks5,
  proxy: socksProxy,
  early: (word) => `\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01${word}`,
})

test('an HTTP proxy is reached through a SOCKS5 proxy', async (t) => {
  const { port } = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('far')),
  )
  const outer = await socksProxy(t)
  const inner = await httpProxy(t)
  const app = new Cio()
    .useClient(socks5({ host: outer.host, port: outer.port }))
    .useClient(httpConnect({ host: inner.host, port: inner.port }))
  closeAfter(t, app)
  t.is(await readAll(await app.connect({ host: '127.0.0.1', port })), 'far')
  t.deepEqual(inner.asked, [`127.0.0.1:${port}`])
})

for (const option of ['username', 'password']) {
  test(`a ${option} that the protocol cannot hold is refused, and not shown`, (t) => {
    const value = '☃'.repeat(86)
    const error = t.throws<CioError>(() => socks5({ username: 'a', [option]: value }), {
      code: 'ERR_CIO_OPTION',
    })
    t.false(error.message.includes('☃'))
  })
}

test('the proxy gets the host name in ASCII and without its final dot (golang/go#63117)', async (t) => {
  for (const [host, asked] of [
    ['db.internal.', 'db.internal'],
    ['bücher.example', 'xn--bcher-kva.example'],
  ] as const) {
    const heard: Buffer[] = []
    const bare = createServer((socket) => {
      socket.on('data', (chunk: Buffer) => {
        heard.push(chunk)
        // No authentication; then "host unreachable".
        socket.write(
          heard.length === 1 ? Buffer.from([5, 0]) : Buffer.from([5, 4, 0, 1, 0, 0, 0, 0, 0, 0]),
        )
      })
      socket.on('error', () => {})
    })
    const port = await listenBare(t, bare)
    const app = new Cio().useClient(socks5({ host: '127.0.0.1', port }))
    await t.throwsAsync(app.connect({ host, port: 1 }), { code: 'ERR_CIO_PROXY' })
    t.is(heard[1]!.subarray(5, 5 + heard[1]![4]!).toString(), asked)
  }
})

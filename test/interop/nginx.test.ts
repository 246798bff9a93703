/** nginx as a stream proxy that sends a PROXY header, and that ends TLS. */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { Cio, proxyProtocol } from '../../src/index.ts'
import { contents, path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { listening, scratch, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

/** An nginx in front of a port, with these lines. */
async function nginx(t: ExecutionContext, to: number, listen: string, ...lines: string[]) {
  const folder = scratch(t)
  const port = await ownPort()
  const file = join(folder, 'nginx.conf')
  writeFileSync(
    file,
    [
      'load_module /usr/lib/nginx/modules/ngx_stream_module.so;',
      'daemon off; master_process off;',
      `pid ${join(folder, 'pid')}; error_log stderr;`,
      'events {}',
      'stream {',
      '  proxy_half_close on;',
      `  server { listen 127.0.0.1:${port} ${listen};`,
      ...lines,
      `    proxy_protocol on; proxy_pass 127.0.0.1:${to};`,
      '  }',
      '}',
    ].join('\n'),
  )
  const { child } = start(t, 'nginx', ['-c', file, '-p', folder, '-e', 'stderr'])
  await listening(child, port)
  return { port }
}

function server() {
  const app = new Cio()
    .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
    .useConnection(async (ctx) => {
      const said = await readAll(ctx)
      if (said !== '') ctx.stream.write(`${ctx.proxied?.source?.port}: ${said}`)
    })
  return { app, told: recordEvents(app) }
}

test('nginx says for whom it connects, and a late reply comes through', async (t) => {
  const { app, told } = server()
  const { port } = await serve(t, app)
  const proxy = await nginx(t, port, '')
  const client = await dial(t, proxy)
  const { localPort } = client
  client.end('hello')
  t.is(await readAll(client), `${localPort}: hello`)
  t.deepEqual(told, nothing)
})

test('nginx ends TLS, and says for whom it connects', async (t) => {
  const { app, told } = server()
  const { port } = await serve(t, app)
  const pair = `ssl_certificate ${path('server.crt')}; ssl_certificate_key ${path('server.key')};`
  const proxy = await nginx(t, port, 'ssl', pair)
  // Node's declarations do not know that a TLS socket may be half-open.
  const halfOpen = { allowHalfOpen: true }
  const client = connectTls({
    ...halfOpen,
    port: proxy.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: contents('root.crt'),
  })
  t.teardown(() => client.destroy())
  await once(client, 'secureConnect')
  const { localPort } = client
  client.end('hello')
  t.is(await readAll(client), `${localPort}: hello`)
  t.deepEqual(told, nothing)
})

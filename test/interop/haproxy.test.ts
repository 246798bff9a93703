/** HAProxy in front of a server, with health checks. */

import test from 'ava'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Cio, proxyProtocol } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { haproxy } from '../support/haproxy.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const checks = 5

/** An app that answers with who came; one that says nothing gets nothing. */
function server({ trusted }: { trusted?: readonly string[] } = {}) {
  const app = new Cio()
  if (trusted) app.useConnection(proxyProtocol({ trusted }))
  app.useConnection(async (ctx) => {
    const said = await readAll(ctx)
    const { forwardedFor: client, socket } = ctx
    const port = typeof client === 'string' ? undefined : client?.port
    if (said !== '') ctx.stream.write(`${port ?? socket?.remotePort}: ${said}`)
  })
  return { app, told: recordEvents(app) }
}

/** Waits until so many more sockets were accepted, of which some are gone before anybody sees them. */
async function accepted(count: number): Promise<void> {
  let left = count
  await new Promise<void>((resolve) => {
    const see = (): void => {
      left -= 1
      if (left > 0) return
      unsubscribe('net.server.socket', see)
      resolve()
    }
    subscribe('net.server.socket', see)
  })
}

for (const [title, options, trusted] of [
  ['check', 'check inter 10ms', undefined],
  ['check and send-proxy', 'check check-send-proxy inter 10ms send-proxy', ['127.0.0.1']],
  ['check and send-proxy-v2', 'check check-send-proxy inter 10ms send-proxy-v2', ['127.0.0.1']],
] as const) {
  test.serial(
    `health checks by ${title} are no errors, and clients are served meanwhile`,
    async (t) => {
      const { app, told } = server(trusted ? { trusted } : {})
      const { port } = await serve(t, app)
      const balancer = await haproxy(t, { server: options, to: port })
      for (let round = 1; round <= 20; round++) {
        const client = await dial(t, balancer)
        client.end('hello')
        const expected = trusted ? new RegExp(`^${client.localPort}: hello$`) : /^\d+: hello$/
        t.regex(await readAll(client), expected)
        // HAProxy resets a plain check before the kernel would accept it.
        if (trusted) await accepted(checks)
      }
      t.deepEqual(told, nothing)
    },
  )
}

test.serial(
  'health checks over TLS, which make a handshake and leave, are no errors',
  async (t) => {
    const { app, told } = server()
    const { port } = await serve(t, app, identity('server'))
    const verify = `ssl ca-file ${path('root.crt')} verify required sni str(localhost)`
    // HAProxy gives a check no more than this time: a handshake that it cuts short is an error.
    const options = `check check-ssl inter 500ms ${verify}`
    const balancer = await haproxy(t, { server: options, to: port })
    const client = await dial(t, balancer)
    client.end('hello')
    t.regex(await readAll(client), /^\d+: hello$/)
    await accepted(checks)
    t.deepEqual(told, nothing)
  },
)

test.serial('a server that is gone is taken out, and taken in again when it is back', async (t) => {
  const { app } = server()
  const first = await serve(t, app)
  const { port } = first
  const balancer = await haproxy(t, { server: 'check inter 10ms rise 1 fall 1', to: port })
  const answer = async (): Promise<string> => {
    const client = await dial(t, balancer)
    client.end('hello')
    return readAll(client).catch(() => '')
  }
  t.regex(await answer(), /hello/)
  await first.close()
  while ((await answer()) !== '');
  const again = server()
  await serve(t, again.app, { port })
  let came = ''
  while (came === '') came = await answer()
  t.regex(came, /hello/)
})

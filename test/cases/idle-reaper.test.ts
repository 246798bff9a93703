/**
 * Hundreds of peers that connect, say a word and fall silent, as phones do that have left the
 * network. If this fails, they stay for ever: TCP does not notice a peer that vanished, and a server
 * fills up with the dead. All are cut off, each sees that it was, and the one that speaks lives on.
 */

import test from 'ava'
import { once } from 'node:events'
import { Cio, type CioError, timeout } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, serve } from '../support/serve.ts'
import { dialOver } from '../support/transports.ts'

const silent = 300

for (const kind of ['plain', 'TLS'] as const) {
  test(`peers that fall silent are all cut off on a ${kind} server, and one that speaks is not`, async (t) => {
    const app = new Cio().useConnection(timeout({ idle: 1_500 })).useConnection(async (ctx) => {
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
    const codes = new Map<string, number>()
    let emptied = (): void => {}
    const all = new Promise<void>((resolve) => (emptied = resolve))
    app.on('remoteError', (error) => {
      const { code } = error as CioError
      codes.set(code, (codes.get(code) ?? 0) + 1)
      if (codes.get('ERR_CIO_IDLE') === silent) emptied()
    })
    app.on('error', (error) => t.fail(String(error)))
    const server = await serve(t, app, kind === 'TLS' ? identity('server') : {})
    const come = () => (kind === 'TLS' ? dialOver(t, 'TLS 1.3', server) : dial(t, server))

    const living = await come()
    const chatting = new AbortController()
    const chat = (async () => {
      while (!chatting.signal.aborted) {
        living.write('.')
        await once(living, 'data')
        await new Promise(setImmediate)
      }
    })()
    const gone: Promise<unknown>[] = []
    for (let index = 0; index < silent; index++) {
      const peer = await come()
      peer.on('error', () => {})
      peer.resume()
      gone.push(new Promise((resolve) => peer.once('close', resolve)))
      peer.once('end', () => peer.end())
      peer.write('hello')
    }
    await all
    await Promise.all(gone)
    chatting.abort()
    await chat
    t.deepEqual([...codes], [['ERR_CIO_IDLE', silent]])
    t.is(server.connections.size, 1)
    living.destroy()
  })
}

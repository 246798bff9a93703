/**
 * Connections that never rest, and are asked to finish when they are too old. If this fails, a
 * deployment is never over: the connections that were there before it stay with the old process, or
 * with the old member of a cluster, for as long as their peers like. Those whose handler heeds
 * `ctx.draining` end between two messages; the others are cut off at the deadline.
 */

import test from 'ava'
import { Cio, type CioError, lines, timeout } from '../../src/index.ts'
import { dial, serve } from '../support/serve.ts'

const peers = 50

test('busy connections end at their lifetime: some by themselves, the deaf at the deadline', async (t) => {
  const app = new Cio()
    .useConnection(timeout({ lifetime: 500, drainTimeout: 2_000 }))
    .useConnection(async function deaf(ctx, next) {
      if (ctx.id % 2 === 0) return next()
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
    .useConnection(lines())
    .useConnection(async (ctx) => {
      // Ends between two messages once it is asked to finish.
      for await (const line of ctx.messages) await ctx.messages.send(line)
      await ctx.messages.send('goodbye')
    })
  const codes = new Map<string, number>()
  app.on('remoteError', (error) => {
    const { code } = error as CioError
    codes.set(code, (codes.get(code) ?? 0) + 1)
  })
  app.on('error', (error) => t.fail(String(error)))
  const server = await serve(t, app)

  const endings = await Promise.all(
    Array.from({ length: peers }, async () => {
      const peer = await dial(t, server)
      let said = ''
      const gone = new Promise((resolve) => peer.once('close', resolve))
      peer.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-64)
        if (said.endsWith('goodbye\n')) peer.end()
        else peer.write('more\n')
      })
      peer.once('end', () => peer.end())
      peer.write('more\n')
      await gone
      return said.endsWith('more\ngoodbye\n')
    }),
  )
  t.is(endings.filter(Boolean).length, peers / 2)
  t.deepEqual([...codes], [['ERR_CIO_LIFETIME', peers]])
  t.deepEqual(await server.close({ timeout: Infinity }), { forced: 0 })
})

/** Applications of Koa and Express, behind `http()`. */

import test from 'ava'
import express from 'express'
import Koa from 'koa'
import type { TLSSocket } from 'node:tls'
import { Client } from 'undici'
import { Cio, allowList, contextOf, http } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { readAll, serve } from '../support/serve.ts'

test('Koa and Express read a body, answer it, and answer for their own errors', async (t) => {
  const koa = new Koa()
  koa.silent = true
  koa.use(async (ctx) => {
    if (ctx.path === '/broken') throw new Error('broken')
    ctx.body = `${ctx.method} ${await readAll(ctx.req)}`
  })
  const web = express()
  web.set('env', 'test')
  web.post('/', async (asked, response) => {
    response.send(`${asked.method} ${await readAll(asked)}`)
  })
  web.get('/broken', () => {
    throw new Error('broken')
  })
  for (const handler of [koa.callback(), web]) {
    const { port } = await serve(t, new Cio().useConnection(http(handler)))
    const client = new Client(`http://127.0.0.1:${port}`)
    t.teardown(() => client.destroy())
    const body = 'x'.repeat(100_000)
    const posted = await client.request({ path: '/', method: 'POST', body })
    t.is(await posted.body.text(), `POST ${body}`)
    const broken = await client.request({ path: '/broken', method: 'GET' })
    t.is(broken.statusCode, 500)
    await broken.body.dump()
  }
})

test('over mutual TLS, Koa and Express know the verified peer', async (t) => {
  const koa = new Koa()
  koa.use((ctx) => {
    const certificate = (ctx.req.socket as TLSSocket).getPeerCertificate()
    ctx.body = `${contextOf(ctx.req)?.peer?.name} ${String(certificate.subject.CN)} ${ctx.secure}`
  })
  const web = express()
  web.get('/', (asked, response) => {
    const certificate = (asked.socket as TLSSocket).getPeerCertificate()
    response.send(
      `${contextOf(asked)?.peer?.name} ${String(certificate.subject.CN)} ${asked.secure}`,
    )
  })
  for (const handler of [koa.callback(), web]) {
    const app = new Cio().useConnection(allowList(['alice'])).useConnection(http(handler))
    const { port } = await serve(t, app, {
      ...identity('server'),
      ca: path('root.crt'),
      requestCert: true,
    })
    const client = new Client(`https://localhost:${port}`, {
      connect: { ca: contents('root.crt'), ...loaded('alice'), host: '127.0.0.1' },
    })
    t.teardown(() => client.destroy())
    const { body } = await client.request({ path: '/', method: 'GET' })
    t.is(await body.text(), 'alice alice true')
  }
})

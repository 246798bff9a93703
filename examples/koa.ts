// npx tsx examples/koa.ts
//
// Koa behind Cio: whatever Cio can put before a connection, a web application gets for free.
// Try `curl http://localhost:7002/`.

import { createServer } from 'node:http'
import Koa from 'koa'
import { Cio } from '../src/index.ts'

const koa = new Koa()
koa.use((ctx) => {
  ctx.body = `${ctx.method} ${ctx.path}\n`
})

// Never listens itself: Cio hands it the streams.
const handle = koa.callback()
const http = createServer((request, response) => void handle(request, response))

const app = new Cio()
  .useConnection(async function log({ remote }, next) {
    const start = performance.now()
    await next()
    console.log(`${remote} stayed for ${Math.round(performance.now() - start)} ms`)
  })
  .useConnection(async function web({ stream }, next) {
    http.emit('connection', stream)
    await next()
  })

const server = await app.listen(process.env.PORT ?? 7002)
console.log(`Koa on port ${server.port}`)

// npx tsx examples/koa.ts
//
// Koa behind Cio: a web application can use all middleware that Cio has for connections.
// Try `curl http://localhost:7002/`.

import Koa from 'koa'
import { Cio, http } from '../src/index.ts'

const koa = new Koa()
koa.use((ctx) => {
  ctx.body = `${ctx.method} ${ctx.path}\n`
})

const app = new Cio()
  .useConnection(async function log({ remote }, next) {
    const start = performance.now()
    await next()
    console.log(`${remote} stayed for ${Math.round(performance.now() - start)} ms`)
  })
  .useConnection(http(koa.callback()))

const server = await app.listen(process.env.PORT ?? 7002)
console.log(`Koa on port ${server.port}`)

// npx tsx examples/own-middleware.ts
//
// Two middleware of your own: one adds a typed member to the context, one sets its place by a hint.
// Connect with `socat - TCP:localhost:7003`.

import { Cio, type Middleware, type StreamContext, defineMiddleware } from '../src/index.ts'

interface VisitorContext {
  visitor: number
}

/** Numbers the connections. */
function visitor(): Middleware<StreamContext, VisitorContext> {
  let count = 0
  return async function visitor(ctx, next) {
    ctx.visitor = ++count
    await next()
  }
}

/** Logs how long each connection lasted. It is first, so that the TLS handshake counts too. */
function stopwatch(): Middleware<StreamContext> {
  return defineMiddleware<StreamContext>(
    { name: 'stopwatch', before: '*' },
    async function stopwatch({ remote }, next) {
      const start = performance.now()
      await next()
      console.log(`${remote} stayed for ${Math.round(performance.now() - start)} ms`)
    },
  )
}

const app = new Cio()
  .useConnection(visitor())
  .useConnection(({ stream, visitor }) => stream.write(`you are visitor ${visitor}\n`), {
    name: 'greet',
  })
  .useConnection(stopwatch())

console.log(String(app.inspect()))
const server = await app.listen(process.env.PORT ?? 7003)
console.log(`visitors are counted on port ${server.port}`)

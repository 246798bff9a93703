// npx tsx examples/echo.ts
//
// The smallest server: it sends back all received data. Connect with `socat - TCP:localhost:7000`.

import { Cio } from '../src/index.ts'

const app = new Cio().useConnection(async function echo({ stream }, next) {
  stream.pipe(stream)
  await next() // returns when the stream has finished
})

const server = await app.listen(process.env.PORT ?? 7000)
console.log(`an echo on port ${server.port}`)

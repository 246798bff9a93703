// npx tsx examples/one-port.ts
//
// HTTP, WebSocket and a line protocol on one port: `route` looks at the first bytes. Try
// `curl http://localhost:7011/`, a WebSocket client, and `echo hello | socat - TCP:localhost:7011`.

import { websocket } from '../middleware/websocket.ts'
import { Cio, http, lines, route } from '../src/index.ts'

const shout = new Cio()
  .useConnection(lines())
  .useConnection(({ messages }) => messages.each((line) => messages.send(line.toUpperCase())))

const app = new Cio().useConnection(
  route([
    { when: { bytes: /^GET \/shout / }, to: websocket(shout) },
    {
      when: { http: true },
      to: http((request, response) => response.end(`you asked for ${request.url}\n`)),
    },
    // Everything else.
    { to: shout },
  ]),
)

app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7011)
console.log(`HTTP, WebSocket and lines on port ${server.port}`)

// npx tsx examples/websocket.ts
//
// JSON-RPC over WebSocket, with a page of a browser as the client: open `http://localhost:7014/`.
// Both sides call each other, and each WebSocket message is one message of JSON-RPC.

import { websocket } from '../middleware/websocket.ts'
import { Cio, json, rpc } from '../src/index.ts'

interface Service {
  add(params: [a: number, b: number]): number
}

interface Page {
  show(params: [text: string]): string
}

const page = `<!doctype html>
<title>JSON-RPC over WebSocket</title>
<output></output>
<script>
  const socket = new WebSocket(location.href.replace('http', 'ws'), 'calculator.v1')
  const output = document.querySelector('output')
  const pending = new Map()
  const methods = {
    show(text) {
      output.textContent += text + ' '
      return navigator.userAgent
    },
  }

  function call(method, ...params) {
    const id = pending.size + 1
    socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
    return new Promise((resolve) => pending.set(id, resolve))
  }

  socket.onmessage = ({ data }) => {
    const { id, method, params, result } = JSON.parse(data)
    if (!method) return pending.get(id)(result)
    socket.send(JSON.stringify({ jsonrpc: '2.0', id, result: methods[method](...params) }))
  }
  socket.onopen = async () => methods.show('1 + 2 = ' + (await call('add', 1, 2)))
</script>
`

const calculator = new Cio()
  .useConnection(json())
  .useConnection(rpc<Page, Service>({ methods: { add: ([a, b]) => a + b } }))
  .useConnection(async (ctx, next) => {
    const agent = await ctx.rpc.call('show', ['hello'])
    console.log(`shown by ${agent}`)
    await next()
  })

const app = new Cio().useConnection(
  websocket(calculator, {
    subprotocols: ['calculator.v1'],
    handler: (_request, response) => {
      response.setHeader('content-type', 'text/html; charset=utf-8').end(page)
    },
  }),
)

const server = await app.listen(process.env.PORT ?? 7014)
console.log(`a page and its WebSocket on port ${server.port}`)

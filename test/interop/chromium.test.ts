/** A page in Chromium, which exchanges messages with a WebSocket server by its own `WebSocket`. */

import test from 'ava'
import {
  type WebsocketOptions,
  bySubprotocol,
  websocket,
  wholeMessages,
} from '../../middleware/websocket.ts'
import { Cio, type MessagesContext, json, lines } from '../../src/index.ts'
import { serve } from '../support/serve.ts'
import { scratch, start } from './programs.ts'

const page = `<!doctype html>
<title>test</title>
<script type="module">
  const url = location.href.replace('http', 'ws')
  const outcome = {}

  /** Sends messages, and returns as many that come back, or the close code. */
  async function exchange(subprotocol, messages) {
    const socket = new WebSocket(url, subprotocol)
    socket.binaryType = 'arraybuffer'
    const received = []
    return new Promise((resolve) => {
      socket.onclose = ({ code }) => resolve(code)
      socket.onmessage = ({ data }) => {
        received.push(typeof data === 'string' ? data : [...new Uint8Array(data)].slice(0, 3))
        if (received.length === messages.length) resolve(received)
      }
      socket.onopen = () => {
        for (const message of messages) socket.send(message)
      }
    })
  }

  outcome.json = await exchange('json', ['{"a":1}', '[]'])
  outcome.lines = await exchange('lines', ['one', '', 'three'])
  outcome.whole = await exchange('whole', ['text', new Uint8Array([1, 2]), '', new ArrayBuffer(0)])
  outcome.large = await exchange('whole', [new Uint8Array(300000).fill(7)])
  outcome.tooLong = await exchange('lines', ['x'.repeat(1001)])
  outcome.malformed = await exchange('json', ['{'])
  outcome.unknown = await exchange('other', ['x'])
  await fetch('/outcome', { method: 'POST', body: JSON.stringify(outcome) })
</script>
`

test('messages of a page keep their borders, and errors have their close codes', async (t) => {
  let report!: (outcome: unknown) => void
  const reported = new Promise<unknown>((resolve) => (report = resolve))
  const codecs = { json: json(), lines: lines({ maxLength: 1_000 }), whole: wholeMessages() }
  const echo = new Cio()
    .useConnection(bySubprotocol<MessagesContext<unknown>>(codecs as never))
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
  const options: WebsocketOptions = {
    subprotocols: Object.keys(codecs),
    handler: async (request, response) => {
      if (request.method !== 'POST') {
        response.setHeader('content-type', 'text/html').end(page)
        return
      }
      let body = ''
      for await (const chunk of request) body += String(chunk)
      response.end()
      report(JSON.parse(body))
    },
  }
  const server = await serve(t, new Cio().useConnection(websocket(echo, options)))
  start(t, 'chromium', [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--remote-debugging-port=0',
    `--user-data-dir=${scratch(t)}`,
    `http://127.0.0.1:${server.port}/`,
  ])
  t.deepEqual(await reported, {
    json: ['{"a":1}', '[]'],
    lines: ['one', '', 'three'],
    whole: ['text', [1, 2], '', []],
    large: [[7, 7, 7]],
    tooLong: 1009,
    malformed: 1008,
    unknown: 1006,
  })
})

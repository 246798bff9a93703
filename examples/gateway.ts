// npx tsx examples/certificates.ts certs sensor-1 console && npx tsx examples/gateway.ts
//
// A gateway for devices. A device connects by mutual TLS, has the name in its certificate, sends
// telemetry in MessagePack and receives commands. The client `console` sees all and sends commands.

import { Cio, type Messages, allowList, certs } from '../src/index.ts'
import { msgpack } from '../middleware/msgpack.ts'

interface Telemetry {
  readonly temperature: number
}

interface Command {
  readonly to: string
  readonly command: string
}

/** The connected clients by name; if two have the same name, the later one. */
const present = new Map<string, Messages<Telemetry | Command, unknown>>()

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt', ca: 'certs/ca.crt' }))
  .useConnection(allowList(['console', /^sensor-\d+$/]))
  .useConnection(msgpack<Telemetry | Command>({ maxLength: 4096, useRecords: false }))
  .useConnection(async function gateway({ messages, peer }) {
    const name = peer?.name ?? ''
    present.set(name, messages)
    console.log(`${name} is here`)
    try {
      for await (const message of messages) {
        const isCommand = name === 'console' && 'command' in message
        const to = present.get(isCommand ? message.to : 'console')
        // Not awaited: a client that does not read must not block or fail the others.
        if (to) void to.send(isCommand ? message : { from: name, ...message })
        else if (isCommand) await messages.send({ error: `${message.to} is not here` })
      }
    } finally {
      if (present.get(name) === messages) present.delete(name)
      console.log(`${name} is gone`)
    }
  })

app.on('reject', (error) => console.log(error.message))

const server = await app.listen(process.env.PORT ?? 7009)
console.log(`a gateway on port ${server.port}`)

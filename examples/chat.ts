// npx tsx examples/chat.ts
//
// A chat: the first line is one's name, every other line goes to everybody else. Join it with
// `socat - TCP:localhost:7001`, or with examples/chat-client.ts, which comes back.

import { Cio, type Messages, lines } from '../src/index.ts'

const members = new Map<string, Messages<string>>()

function tellOthers(sender: string, line: string): void {
  for (const [name, messages] of members) {
    // Not awaited: one who does not read must not hold up the others. `maxQueueSize` bounds them.
    if (name !== sender) void messages.send(line)
  }
}

const app = new Cio()
  .useConnection(lines({ maxLength: 1_000, maxQueueSize: 100_000 }))
  .useConnection(async function chat({ messages, remote }) {
    await messages.send('who are you?')
    const { value: name = '' } = await messages.next()
    if (name === '' || members.has(name)) return messages.send('not with that name')
    members.set(name, messages)
    try {
      await messages.send(`welcome, ${name}`)
      tellOthers(name, `* ${name} came from ${remote}`)
      for await (const line of messages) tellOthers(name, `${name}: ${line}`)
    } finally {
      members.delete(name)
      tellOthers(name, `* ${name} left`)
    }
  })

const server = await app.listen(process.env.PORT ?? 7001)
console.log(`a chat on port ${server.port}`)

// npx tsx examples/chat.ts
//
// A chat: the first line is your name, every other line goes to all other members. Join it with
// `socat - TCP:localhost:7001`, or with examples/chat-client.ts, which reconnects.

import { Cio, lines, rooms } from '../src/index.ts'

const names = new Set<string>()
// A member that does not read does not block the others: above `maxBacklog` Cio closes it.
const chat = rooms<string>({ maxBacklog: 100_000 })

const app = new Cio()
  .useConnection(lines({ maxLength: 1_000 }))
  .useConnection(chat)
  .useConnection(async (ctx) => {
    const { messages, remote } = ctx
    const sendToOthers = (line: string) => chat.send('all', line, { except: ctx })
    await messages.send('who are you?')
    const { value: name = '' } = await messages.next()
    if (name === '' || names.has(name)) return messages.send('not with that name')
    names.add(name)
    try {
      await ctx.rooms.join('all')
      await messages.send(`welcome, ${name}`)
      await sendToOthers(`* ${name} came from ${remote}`)
      for await (const line of messages) await sendToOthers(`${name}: ${line}`)
    } finally {
      names.delete(name)
      await sendToOthers(`* ${name} left`)
    }
  })

const server = await app.listen(process.env.PORT ?? 7001)
console.log(`a chat on port ${server.port}`)

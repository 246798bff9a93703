/** The application: the middleware of each connection. It listens in main.ts. */

import { Cio, lines } from 'cio'

export const app = new Cio().useConnection(lines()).useConnection(async function greet(ctx) {
  for await (const line of ctx.messages) await ctx.messages.send(`hello ${line}`)
})

app.on('error', (error) => console.error(error))
app.on('remoteError', (error) => console.warn(error.message))
app.on('reject', (error) => console.warn(error.message))

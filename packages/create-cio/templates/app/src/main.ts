/** Starts the server, with a graceful shutdown on SIGTERM and SIGINT. */

import { app } from './app.ts'

const server = await app.listen({
  port: Number(process.env.PORT ?? 7000),
  host: process.env.HOST ?? '127.0.0.1',
})
console.log(`listening on port ${server.port}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void app.close())
}

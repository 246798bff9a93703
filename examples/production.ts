// npx tsx examples/certificates.ts certs alice && npx tsx examples/production.ts
//
// A server for production: mutual TLS, bounds on load and time, a graceful shutdown on SIGTERM, and
// a log line for each event that an operator has to see. Try it, then press Ctrl+C: openssl
// s_client -quiet -connect localhost:7010 -CAfile certs/ca.crt -cert certs/alice.crt \ -key
// certs/alice.key

import { randomBytes } from 'node:crypto'
import {
  Cio,
  allowList,
  certificateExpiry,
  certs,
  drain,
  inherited,
  limit,
  lines,
  log,
  record,
  relisten,
  sessionTickets,
  timeout,
} from '../src/index.ts'

const app = new Cio()
  // Under systemd, the socket of its unit: a restart refuses no client.
  .useServer(inherited())
  // A restart may find the port still in use: retry for half a minute, then fail.
  .useServer(relisten({ retries: 10, delay: 500, factor: 2, maxDelay: 5_000, jitter: 0.5 }))
  // Below the 30 s after which Kubernetes kills the process.
  .useServer(drain({ timeout: 20_000, spread: 5_000, exitTimeout: 5_000 }))
  // One line of JSON for each connection, without the whole address of a client.
  .useServer(log({ address: 'network' }))
  .useServer(
    certs({
      key: 'certs/server.key',
      cert: 'certs/server.crt',
      ca: 'certs/ca.crt',
      reloadSignal: 'SIGHUP',
    }),
  )
  // Share one secret between the processes behind a load balancer.
  .useServer(sessionTickets({ secret: process.env.TICKET_SECRET ?? randomBytes(32) }))
  .useConnection(limit({ connections: 5_000, ratePerAddress: { count: 50, per: 1_000 } }))
  .useConnection(timeout({ idle: 5 * 60_000, lifetime: 24 * 60 * 60_000 }))
  .useConnection(certificateExpiry())
  .useConnection(allowList(['alice']))
  // RECORD=alice writes what alice sends into files, for `replay` in a test.
  .useConnection(
    record({
      when: ({ peer }) => peer?.name === process.env.RECORD,
      to: 'captures',
      connections: 3,
    }),
  )
  .useConnection(lines({ maxLength: 10_000 }))
  // The loop ends between two messages when the server drains.
  .useConnection(async function shout({ messages }) {
    for await (const line of messages) await messages.send(line.toUpperCase())
  })

app.on('relisten', ({ retry, delay }) => console.log(`port in use: retry ${retry} in ${delay} ms`))
app.on('reject', (error) => console.warn(error.message))
app.on('remoteError', (error) => console.info(error.message))
app.on('error', (error) => console.error(error))
app.on('overload', () => console.error('few file descriptors are left'))
app.on('drain', ({ signal }) => console.log(`${signal}: draining`))
app.on('drained', ({ forced }) => console.log(`drained, ${forced} connections forced`))

const server = await app.listen(process.env.PORT ?? 7010)
console.log(`production on port ${server.port}`)
